"""Quarter turns: the sample of frames, and the turn that makes faces upright."""

import numpy as np
import pytest
from skimage import data

from engine.faces.landmarker import LEFT_EYE, FaceNets
from engine.faces.orientation import MAX_PX, MAX_SAMPLE, FrameSample, find_turn, find_upright, turn_image
from engine.types import Frame
from engine.weights import registry


@pytest.fixture(scope="module")
def nets() -> FaceNets:
    return FaceNets.load(registry.face_landmarker())


def test_a_turn_is_clockwise() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2)
    assert turn_image(image, 90)[:, :, 0].tolist() == [[3, 0], [4, 1], [5, 2]]
    assert turn_image(image, 180)[:, :, 0].tolist() == [[5, 4, 3], [2, 1, 0]]
    assert turn_image(image, 270)[:, :, 0].tolist() == [[2, 5], [1, 4], [0, 3]]


@pytest.mark.parametrize("n_frames", [1, 50, 170, 5000])
def test_a_sample_is_small_and_spans_the_clip(n_frames: int) -> None:
    image, sample = np.zeros((4, 4, 3), np.uint8), FrameSample(n_frames)
    frames = [Frame(i, np.full_like(image, i * 255 // n_frames), True) for i in range(n_frames)]
    assert [frame.index for frame in sample.take(iter(frames))] == list(range(n_frames))
    values = [int(one[0, 0, 0]) for one in sample.images]
    assert 1 <= len(values) <= MAX_SAMPLE and values == sorted(values)
    assert values[0] == 0 and values[-1] >= min(0.75, 1 - 10 / n_frames) * 255 - 1


def test_a_sample_does_not_depend_on_the_order_of_the_segments() -> None:
    image, sample, other = np.zeros((4, 4, 3), np.uint8), FrameSample(400), FrameSample(400)
    frames = [Frame(i, np.full_like(image, i // 2), True) for i in range(400)]
    list(sample.take(iter(frames)))
    for first, end in ((150, 400), (0, 200)):  # the frames of both are the same
        list(other.take(iter(frames[first:end])))
    assert [one[0, 0, 0] for one in other.images] == [one[0, 0, 0] for one in sample.images] == list(range(0, 200, 20))


def test_a_sample_of_large_frames_is_shrunk() -> None:
    sample = FrameSample(1)
    list(sample.take(iter([Frame(0, np.zeros((1080, 1920, 3), np.uint8), True)])))
    assert sample.images[0].shape == (405, MAX_PX, 3)


@pytest.mark.parametrize("stored", [0, 90, 180, 270])
def test_the_turn_that_makes_the_portrait_upright_is_found(nets: FaceNets, stored: int) -> None:
    images = [turn_image(data.astronaut()[:300, 60:460], stored)] * 4
    assert find_turn(images, nets) == -stored % 360


@pytest.mark.parametrize(
    ("degrees", "upright"), [(0, True), (40, True), (50, False), (90, False), (180, False), (300, False), (320, True)]
)
def test_a_face_is_upright_within_45_degrees(degrees: int, upright: bool) -> None:
    landmarks = np.zeros((2, 478, 3), np.float32)
    landmarks[:, LEFT_EYE, :2] = [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]
    assert find_upright(landmarks).tolist() == [upright] * 2


def test_a_wall_and_a_face_in_a_quarter_of_the_frames_are_not_turned(nets: FaceNets) -> None:
    wall, turned = np.full((300, 400, 3), 90, np.uint8), turn_image(data.astronaut()[:300, 60:460], 180)
    assert find_turn([wall] * 4, nets) == 0
    assert find_turn([wall, wall, wall, turned], nets) == 0
    assert find_turn([], nets) == 0
