"""One pass serves every plan, holds one frame, and reads no further than it must."""

from collections.abc import Iterator

import numpy as np
import pytest

from engine.faces.face_crops import CropPlan, cut_crops
from engine.types import Frame


def read_frames(n_frames: int, read: list[int] | None = None) -> Iterator[Frame]:
    for index in range(n_frames):
        if read is not None:
            read.append(index)
        yield Frame(index, np.full((8, 8, 3), index, np.uint8), True)


def cut_grey(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return image[:2, :2, 0] + int(transform[0, 0])


def cut_colour(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return image[:4, :4]


def plan(start: int, length: int, add: int = 0) -> CropPlan:
    return CropPlan(start, np.full((length, 2, 3), float(add)), (2, 2), cut_grey)


def test_plans_of_any_shape_are_carried_out_together() -> None:
    grey, colour = plan(2, 5, 100), CropPlan(4, np.zeros((6, 2, 3)), (4, 4, 3), cut_colour)
    one, other = cut_crops(read_frames(12), [grey, colour])
    assert (one.shape, one.dtype, other.shape) == ((5, 2, 2), np.uint8, (6, 4, 4, 3))
    np.testing.assert_array_equal(one[:, 0, 0], 100 + np.arange(2, 7))
    np.testing.assert_array_equal(other[:, 3, 3, 2], np.arange(4, 10))


def test_reading_ends_with_the_last_plan_and_each_frame_is_told() -> None:
    read: list[int] = []
    told: list[int] = []
    cut_crops(read_frames(100, read), [plan(0, 3), plan(5, 2)], told.append)
    assert read == told == [0, 1, 2, 3, 4, 5, 6]


def test_nothing_planned_reads_nothing() -> None:
    read: list[int] = []
    assert cut_crops(read_frames(5, read), []) == []
    assert read == []


def test_frames_that_are_missing_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 of the planned frames"):
        cut_crops(read_frames(6), [plan(4, 5)])
