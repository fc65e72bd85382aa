"""Aligned face crops: constant size and position, equal to blurring the whole frame; one pass for all plans."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from engine.faces.face_crops import (
    BLUR,
    N_POINTS,
    POINTS,
    SIZE,
    AlignedFaces,
    CropPlan,
    cut_crops,
    cut_face,
    place_faces,
    place_points,
)
from engine.faces.landmark_features import LIPS
from engine.faces.mouth_crops import MEAN_FACE, MESH_POINTS
from engine.types import Frame

PLACES = (MEAN_FACE - (64, 68)) * 0.5  # of the stable points in the crop


def draw_face(
    n_frames: int = 9, eye_px: float = 90.0, turn: float = 0.0, at: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Return landmarks (T, 478, 3) with the stable points of the mean face, rotated and moved."""
    rng = np.random.default_rng(1)
    scale = eye_px / np.linalg.norm(MEAN_FACE[4] - MEAN_FACE[1])
    landmarks = rng.uniform(-40, 40, (478, 2)) * scale
    landmarks[list(MESH_POINTS[:5])] = (MEAN_FACE - MEAN_FACE.mean(0)) * scale
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    placed = landmarks @ rotation.T + at
    return np.repeat(np.pad(placed, ((0, 0), (0, 1)))[None], n_frames, axis=0).astype(np.float32)


@pytest.mark.parametrize(("eye_px", "turn", "at"), [(40, 0, (100, 80)), (300, 0.4, (900, 500)), (90, -1.2, (5, 5))])
def test_faces_of_any_size_and_turn_come_to_one_place(eye_px: float, turn: float, at: tuple[float, float]) -> None:
    landmarks = draw_face(eye_px=eye_px, turn=turn, at=at)
    transforms = place_faces(landmarks)
    stable = landmarks[:, MESH_POINTS[:5], :2]
    placed = np.einsum("tij,tpj->tpi", transforms[:, :, :2], stable) + transforms[:, None, :, 2]
    np.testing.assert_allclose(placed, np.repeat(PLACES[None], 9, axis=0), atol=2e-3)
    plain = draw_face()
    np.testing.assert_allclose(place_points(landmarks, transforms), place_points(plain, place_faces(plain)), atol=5e-3)


def test_points_are_those_of_the_mesh_in_their_order() -> None:
    assert len(POINTS) == len(set(POINTS)) == N_POINTS == 108
    assert POINTS[: len(LIPS)] == LIPS
    landmarks = draw_face()
    points = place_points(landmarks, place_faces(landmarks))
    assert points.shape == (9, 108, 2) and points.dtype == np.float32
    for vertex, row in ((33, 1), (133, 2), (362, 3), (263, 4), (2, 0)):
        np.testing.assert_allclose(points[0, POINTS.index(vertex)], PLACES[row], atol=2e-3)


def test_five_frames_around_each_are_averaged_and_the_ends_held() -> None:
    landmarks = draw_face()
    landmarks[4:, :, 0] += 10  # one jump
    moved = place_faces(landmarks)
    centres = -moved[:, 0, 2] / moved[:, 0, 0]
    steps = np.round((centres - centres[0]) / 10, 4)
    np.testing.assert_allclose(steps, [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1], atol=1e-3)


def test_a_single_frame_is_placed() -> None:
    assert place_faces(draw_face(1)).shape == (1, 2, 3)


@pytest.mark.parametrize("eye_px", [30.0, 61.0, 64.0, 250.0])
@pytest.mark.parametrize("at", [(150.0, 120.0), (20.0, 220.0)])
def test_a_part_of_the_picture_gives_what_the_whole_would(eye_px: float, at: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 1.5)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    transform = place_faces(draw_face(1, eye_px, 0.2, at))[0]
    scale = np.hypot(transform[0, 0], transform[1, 0])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    whole = cv2.GaussianBlur(grey, (0, 0), BLUR / scale) if scale < 0.6 else grey
    wanted = cv2.warpAffine(whole, transform, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    found = cut_face(image, transform)
    assert found.shape == (SIZE, SIZE) and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - wanted)
    assert np.mean(difference > 0) < 0.1  # OpenCV rounds coordinates to a 32nd of a pixel, from either corner
    assert np.percentile(difference, 99) <= 4 and wanted.std() > 10


def test_what_lies_beyond_the_picture_is_black() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    half = cut_face(white, place_faces(draw_face(1, 40.0, at=(0.0, 50.0)))[0])
    assert (half[:, :20] == 0).all() and (half[20:50, 40:] == 255).all()
    for at in ((-500.0, 50.0), (50.0, 900.0)):
        gone = cut_face(white, place_faces(draw_face(1, 40.0, at=at))[0])
        assert gone.shape == (SIZE, SIZE) and not gone.any()


def test_fine_stripes_do_not_glitter_in_a_small_crop() -> None:
    stripes = np.zeros((1000, 1000, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    transform = place_faces(draw_face(1, 250.0, at=(500.0, 500.0)))[0]
    assert cut_face(stripes, transform).std() < 6


def test_a_record_refuses_what_is_not_of_one_length_or_size() -> None:
    pictures, points = np.zeros((4, 64, 64), np.uint8), np.zeros((4, 108, 2), np.float32)
    AlignedFaces(pictures, points)
    for wrong in ((pictures[:3], points), (pictures, points[:, :5]), (pictures.astype(float), points)):
        with pytest.raises(ValueError, match="wanted"):
            AlignedFaces(*wrong)
    with pytest.raises(ValueError, match="points are float64"):
        AlignedFaces(pictures, points.astype(np.float64))


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


def test_reading_ends_with_the_last_plan_and_each_frame_is_reported() -> None:
    read: list[int] = []
    reported: list[int] = []
    cut_crops(read_frames(100, read), [plan(0, 3), plan(5, 2)], reported.append)
    assert read == reported == [0, 1, 2, 3, 4, 5, 6]


def test_nothing_planned_reads_nothing() -> None:
    read: list[int] = []
    assert cut_crops(read_frames(5, read), []) == []
    assert read == []


def test_frames_that_are_missing_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 of the planned frames"):
        cut_crops(read_frames(6), [plan(4, 5)])
