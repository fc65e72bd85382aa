"""Ranges of seconds of speech, and log10 LRs clipped to the bounds of their length."""

import numpy as np
import pytest

from engine.calibration.lengths import LengthBounds, clip_by_length, find_range, list_ranges, select

RANGES = (LengthBounds(1.5, 2.5, -0.5, 1.0), LengthBounds(2.5, None, -1.0, 2.0))


def test_an_edge_belongs_to_the_range_that_begins_there() -> None:
    assert [find_range(RANGES, seconds) for seconds in (1.5, 2.49, 2.5, 99.0)] == [*RANGES[:1] * 2, *RANGES[1:] * 2]
    assert find_range(RANGES, 1.49) is None
    assert list_ranges((1.5, 4.0)) == [(1.5, 4.0), (4.0, None)]
    assert select(np.array([1.4, 1.5, 3.9, 4.0]), 1.5, 4.0).tolist() == [False, True, True, False]
    for edges in ((), (1.5, 1.5), (4.0, 1.5)):
        with pytest.raises(ValueError, match="rising numbers"):
            list_ranges(edges)


def test_ratios_are_clipped_to_their_length_and_to_0_outside_every_range() -> None:
    seconds = np.array([1.0, 2.0, 3.0, 3.0, 2.0])
    assert clip_by_length(np.array([9.0, 9.0, 9.0, 0.3, -9.0]), seconds, RANGES).tolist() == [0.0, 1.0, 2.0, 0.3, -0.5]


def test_bounds_without_0_and_ranges_that_end_before_they_begin_are_refused() -> None:
    with pytest.raises(ValueError, match="do not include 0"):
        LengthBounds(1.5, 2.5, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"from 2\.5 to 1\.5"):
        LengthBounds(2.5, 1.5, -1.0, 1.0)
