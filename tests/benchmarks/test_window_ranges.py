"""Percentiles of windows give every clip the same weight."""

from benchmarks.window_ranges import find_percentiles


def test_a_long_clip_weighs_as_much_as_a_short_one() -> None:
    assert find_percentiles([[0.1], [], [0.5] * 40, [0.3, 0.3]]) == [0.1, 0.3, 0.5]
