"""Mouth crops: equal to the reference, aligned, one frame at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut
from skimage.transform import SimilarityTransform

from engine.faces.mouth_crops import (
    LIP_POINTS,
    MEAN_FACE,
    MESH_POINTS,
    STABLE_POINTS,
    SUBSET,
    _cut_mouths,
    crop_mouths,
    interpolate_landmarks,
    normalise_for_avhubert,
    stable_points,
)
from engine.faces.tracking import FaceNets
from engine.types import FaceTrack, Frame
from engine.weights import registry

GOLDEN = Path(__file__).parents[2] / "goldens" / "preprocess.npz"
MOUTH = (129.3, 157.8)  # of the mean face


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def align_mouths(frames: Iterable[np.ndarray], landmarks68: np.ndarray) -> Iterator[np.ndarray]:
    """Crop mouths by 68 landmarks (T, 68, 2), NaN in rows without a face, as the reference does."""
    return _cut_mouths(frames, interpolate_landmarks(landmarks68)[:, SUBSET])


def golden_frames() -> Iterator[np.ndarray]:
    """The 40 frames of the reference run, (320, 400, 3) uint8 RGB; the formula yields BGR."""
    y, x = np.mgrid[:320, :400]
    for i in range(40):
        waves = [np.sin(x / (17 + 5 * c) + 0.1 * i) * np.cos(y / (23 + 3 * c) - 0.07 * i) for c in range(3)]
        bgr = np.clip(np.round(127 + 90 * np.stack(waves, axis=-1)), 0, 255).astype(np.uint8)
        yield bgr[..., ::-1]


def mean_landmarks(n_frames: int, mouth: tuple[float, float] = MOUTH) -> np.ndarray:
    """(T, 68, 2): a face that lies on the mean face already, all lip points at `mouth`, all others far away."""
    landmarks = np.full((n_frames, 68, 2), 1000.0)
    landmarks[:, STABLE_POINTS] = MEAN_FACE
    landmarks[:, LIP_POINTS] = mouth
    return landmarks


def noise_image(size: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def track_of(landmarks68: np.ndarray, start: int) -> FaceTrack:
    """Return a track with NaN in all unused mesh points, so that reading one of them shows."""
    length = len(landmarks68)
    mesh = np.full((length, 478, 3), np.nan, np.float32)
    mesh[:, MESH_POINTS, :2] = landmarks68[:, SUBSET]
    rows = np.zeros((length, 4), np.float32), mesh, np.zeros((length, 52), np.float32), np.ones(length, bool)
    return FaceTrack(start, *rows, np.zeros((96, 96, 3), np.uint8))


def test_the_frames_are_those_of_the_reference(golden: dict[str, np.ndarray]) -> None:
    frames = list(golden_frames())
    for frame, check in zip((frames[0], frames[39]), golden["frame_check"], strict=True):
        assert np.array_equal(frame[::40, ::40, ::-1], check)


def test_mouths_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    mouths = np.stack(list(align_mouths(golden_frames(), golden["landmarks_raw"])))
    assert mouths.shape == (40, 96, 96)
    assert mouths.dtype == np.uint8
    assert np.abs(mouths.astype(int) - golden["mouth_gray"]).max() <= 1  # the reference truncates, OpenCV rounds


def test_interpolated_landmarks_equal_the_reference(golden: dict[str, np.ndarray]) -> None:
    assert np.isnan(golden["landmarks_raw"]).any(axis=(1, 2)).sum() == 3
    filled = interpolate_landmarks(golden["landmarks_raw"])
    np.testing.assert_allclose(filled, golden["landmarks_interpolated"], rtol=0, atol=1e-3)


def test_the_network_input_equals_the_reference(golden: dict[str, np.ndarray]) -> None:
    values = normalise_for_avhubert(golden["mouth_gray"][[0, -1]])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, golden["video_input_first_last"], rtol=0, atol=1e-5)


def test_the_mean_face_is_that_of_the_reference(golden: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(golden["mean_face"][list(STABLE_POINTS)], MEAN_FACE, rtol=0, atol=1e-4)
    np.testing.assert_allclose(golden["mean_face"][list(LIP_POINTS)].mean(axis=0), MOUTH, rtol=0, atol=0.1)


def test_missing_rows_are_filled_in_time_and_copied_at_the_ends() -> None:
    landmarks = np.full((7, 2, 2), np.nan)
    landmarks[1], landmarks[5] = 10.0, 50.0
    landmarks[3, 0] = 99.0  # half a row is no row
    assert interpolate_landmarks(landmarks)[:, 1, 1].tolist() == [10, 10, 20, 30, 40, 50, 50]
    assert interpolate_landmarks(landmarks)[:, 0, 0].tolist() == [10, 10, 20, 30, 40, 50, 50]


@pytest.mark.parametrize("length", [0, 5])
def test_no_known_row_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"none of {length} rows"):
        interpolate_landmarks(np.full((length, 68, 2), np.nan))


def test_a_face_on_the_mean_face_is_cut_as_it_is() -> None:
    image = noise_image()
    (mouth,) = align_mouths([image], mean_landmarks(1, (129.0, 158.0)))
    whole = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(mouth, whole[110:206, 81:177])


@pytest.mark.parametrize("mouth", [(129.0, 250.0), (10.0, 158.0), (300.0, -50.0)])
def test_the_window_stays_within_the_square(mouth: tuple[float, float]) -> None:
    image = noise_image()
    (crop,) = align_mouths([image], mean_landmarks(1, mouth))
    left, top = (int(np.clip(place, 48, 208)) - 48 for place in mouth)
    whole = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(crop, whole[top : top + 96, left : left + 96])


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (25, 0.6), (-40, 2.5), (180, 1.3)])
def test_a_turned_and_scaled_face_is_set_upright(degrees: float, scale: float) -> None:
    turn = cv2.getRotationMatrix2D((128, 128), degrees, scale)
    turn[:, 2] += 250
    landmarks = np.pad(mean_landmarks(1), ((0, 0), (0, 0), (0, 1)), constant_values=1) @ turn.T
    upright = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(upright, (129, 158), 12, (255, 255, 255), -1)  # the mouth
    cv2.rectangle(upright, (115, 125), (143, 131), (255, 255, 255), -1)  # above it
    (crop,) = align_mouths([cv2.warpAffine(upright, turn, (800, 800))], landmarks)
    expected = cv2.cvtColor(upright, cv2.COLOR_RGB2GRAY)[110:206, 81:177]
    assert np.abs(crop.astype(int) - expected).mean() < 4
    y, x = np.nonzero(crop[30:] > 127)
    assert (x.mean(), y.mean() + 30) == pytest.approx((48, 48), abs=1)


def test_a_shake_is_averaged_over_the_frames_ahead_and_the_mouth_is_not() -> None:
    """The window follows each frame's mouth; the transform, only the mean of twelve frames."""
    landmarks = mean_landmarks(24, (129.0, 158.0))
    landmarks[0] += 12.0  # one frame of twelve: the transform moves by 1, the mouth by 12
    image = noise_image()
    whole = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    first, second, *_ = align_mouths([image] * 24, landmarks)
    assert np.array_equal(first, whole[122:218, 93:189])
    assert np.array_equal(second, whole[110:206, 81:177])


def test_frames_are_taken_one_at_a_time() -> None:
    taken = []

    def frames() -> Iterator[np.ndarray]:
        for i in range(20):
            taken.append(i)
            yield noise_image()

    for count, _ in enumerate(align_mouths(frames(), mean_landmarks(20)), 1):
        assert len(taken) == count
    assert len(taken) == 20


@pytest.mark.parametrize(("n_frames", "found"), [(0, "found 0 "), (4, "found 4 "), (6, "found 6 or more")])
def test_as_many_frames_as_rows_are_wanted(n_frames: int, found: str) -> None:
    with pytest.raises(ValueError, match=f"{found}.*5 rows"):
        list(align_mouths([noise_image()] * n_frames, mean_landmarks(5)))


def test_a_track_is_cut_from_its_own_frames(golden: dict[str, np.ndarray]) -> None:
    landmarks = golden["landmarks_interpolated"]
    read = []

    def frames() -> Iterator[Frame]:
        for index, image in enumerate([noise_image()] * 3 + list(golden_frames()) + [noise_image()] * 5):
            read.append(index)
            yield Frame(index, image, True)

    mouths = crop_mouths(frames(), track_of(landmarks, start=3))
    assert mouths.start == 3
    difference = np.abs(mouths.frames.astype(int) - np.stack(list(align_mouths(golden_frames(), landmarks))))
    assert difference.max() <= 1  # landmarks of a track are float32
    assert difference.mean() < 0.01
    assert read[-1] == 43, "frames after the track were decoded"


def test_a_track_longer_than_its_clip_is_refused() -> None:
    frames = [Frame(index, noise_image(), True) for index in range(8)]
    with pytest.raises(ValueError, match=r"found 3 frames.*10 rows"):
        crop_mouths(frames, track_of(mean_landmarks(10), start=5))


def test_the_mesh_of_a_face_lies_on_the_mean_face() -> None:
    """The points of the mesh stand for the 68 points: a real face, aligned by them, lands on the reference's."""
    nets = FaceNets.load(registry.face_landmarker())
    image = astronaut()
    (detection,) = nets.find_faces(image)
    points = stable_points(nets.place_landmarks(image, detection.region()).landmarks[None])[0]  # (25, 2)
    aligned = SimilarityTransform.from_estimate(points[:5], MEAN_FACE)(points)
    assert np.abs(aligned[:5] - MEAN_FACE).max() < 4
    x, y = aligned[5:].mean(axis=0)
    assert x == pytest.approx(MOUTH[0], abs=3)
    assert MOUTH[1] - 10 < y < MOUTH[1] + 3, "the mouth is in its place, drawn up by her broad smile"
    upper, lower = aligned[5:12], aligned[12:17]  # 48-54 and 55-59
    assert (np.diff(upper[:, 0]) > 0).all(), "the upper lip runs from left to right in the picture"
    assert (np.diff(lower[:, 0]) < 0).all(), "the lower lip runs back"
    assert lower[:, 1].mean() > upper[:, 1].mean()
