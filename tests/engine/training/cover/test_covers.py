"""Drawn covers hide the mouth, are the same for one seed, and leave the rest of the picture alone."""

import cv2
import numpy as np
import pytest
from skimage import data

from engine.faces.landmarker import FaceNets
from engine.training.cover.covers import COVERS, LIPS, cover_mouth
from engine.training.cover.shapes import fill_polygon
from engine.weights import registry


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, np.ndarray]:
    """A picture and its landmarks."""
    nets, image = FaceNets.load(registry.face_landmarker()), data.astronaut()[:300, 60:400]
    (detection,) = nets.find_faces(image)
    return image, nets.place_landmarks(image, detection.region()).landmarks


@pytest.mark.parametrize("kind", COVERS)
def test_a_cover_hides_most_of_the_lips(portrait, kind: str) -> None:
    image, points = portrait
    lips = fill_polygon(*image.shape[:2], points[list(LIPS), :2]) > 0.5
    shares = []
    for seed in range(8):
        covered, hidden = cover_mouth(np.random.default_rng(seed), image, points, kind)
        changed = np.abs(covered.astype(int) - image).max(2) > 3
        assert 0 <= hidden <= 1.001 and covered.shape == image.shape and covered.dtype == np.uint8
        assert changed[lips].mean() >= min(0.9, 0.8 * hidden)
        shares.append(hidden)
    assert np.median(shares) > 0.6


@pytest.mark.parametrize("kind", COVERS)
def test_a_seed_draws_one_cover_and_another_seed_another(portrait, kind: str) -> None:
    image, points = portrait
    one, again, other = (cover_mouth(np.random.default_rng(seed), image, points, kind)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_a_cover_moved_off_the_mouth_leaves_it_free(portrait) -> None:
    image, points = portrait
    hidden = [
        cover_mouth(np.random.default_rng(seed), image, points, "microphone", shift=(0.0, 1.2))[1] for seed in range(8)
    ]
    assert np.median(hidden) < 0.1


def test_a_cover_turns_and_grows_with_the_face(portrait) -> None:
    image, points = portrait
    turned = points.copy()
    turned[:, 0], turned[:, 1] = image.shape[0] - 1 - points[:, 1], points[:, 0]
    upright = cover_mouth(np.random.default_rng(3), image, points, "mask")[1]
    assert cover_mouth(np.random.default_rng(3), np.rot90(image, -1).copy(), turned, "mask")[1] == pytest.approx(
        upright, abs=0.1
    )
    double = cv2.resize(image, None, fx=2, fy=2)
    assert cover_mouth(np.random.default_rng(3), double, points * 2, "mask")[1] == pytest.approx(upright, abs=0.1)
