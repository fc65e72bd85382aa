import cv2
import numpy as np
import pytest
from skimage import data

from engine.faces.shots import SMALL, ShotCuts, shrink


@pytest.mark.parametrize("height, width", [(360, 640), (720, 1280), (1080, 1920), (108, 192), (2160, 3840)])
def test_whole_pixels_are_shrunk_as_opencv_does(height: int, width: int) -> None:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    portrait = cv2.resize(data.astronaut(), (width, height))
    halves = np.zeros_like(noise)  # every mean lies in the middle of two numbers
    halves[:, ::2] = 1
    for image in (noise, portrait, halves, np.full_like(noise, 255)):
        np.testing.assert_array_equal(shrink(image, SMALL), cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("height, width", [(480, 854), (1280, 720), (36, 64), (72, 128), (20, 30)])
def test_other_sizes_are_left_to_opencv(height: int, width: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(shrink(image, SMALL), cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA))


def test_a_view_of_a_larger_picture_is_shrunk_too() -> None:
    image = np.random.default_rng(1).integers(0, 256, (400, 700, 3), np.uint8)[20:380, 30:670]
    np.testing.assert_array_equal(shrink(image, SMALL), cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA))


def grey(shade: int) -> np.ndarray:
    return np.full((360, 640, 3), shade, np.uint8)


def find_cuts(shades: list[int]) -> list[int]:
    shots = ShotCuts(27.0, 3.0)
    return [index for index, shade in enumerate(shades) if shots.is_cut(grey(shade))]


def test_a_cut_is_the_first_picture_of_the_new_shot() -> None:
    assert find_cuts([40] * 5 + [150] * 4 + [40] * 3) == [5, 9]


def test_a_step_below_the_threshold_is_none() -> None:
    assert find_cuts([40] * 5 + [115] * 5) == []  # a third of 75 is less than 27: hue and saturation stay


def test_a_step_is_compared_with_what_is_usual() -> None:
    flicker = [40, 90] * 6
    assert find_cuts([*flicker, 190]) == []  # 33 after steps of 17
    assert find_cuts([40] * 12 + [140]) == [12]
