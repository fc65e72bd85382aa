"""Recasts: the motion of one face on the picture of another."""

import numpy as np

from engine.faces.face_crops import SIZE
from engine.training.style.augmentation import StillFace, swap_identity


def make_points(width: float = 20.0, seed: int = 0) -> np.ndarray:
    """(108, 2): points on a grid about the middle, `width` pixels each way, a mouth among them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-1, 1, 9)), axis=-1).reshape(-1, 2)
    return (SIZE / 2 + width * grid + rng.normal(0, 0.2, (108, 2))).astype(np.float32)


def draw_dot(at: np.ndarray) -> np.ndarray:
    """A white dot on grey."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return (80 + 150 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)).astype(np.uint8)


def find_dot(picture: np.ndarray) -> np.ndarray:
    weights = np.clip(picture.astype(float) - 120, 0, None)
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


def make_motion(points: np.ndarray, n_frames: int = 9, reach: float = 4.0) -> np.ndarray:
    """(T, 108, 2): all points sway sideways, those in the middle most."""
    sway = reach * np.sin(np.linspace(0, 2 * np.pi, n_frames))[:, None]
    middle = np.exp(-((points - SIZE / 2) ** 2).sum(1) / 200)
    moved = np.repeat(points[None], n_frames, axis=0).copy()
    moved[..., 0] += sway * middle
    return moved


def test_the_picture_follows_the_landmarks() -> None:
    points = make_points()
    still = StillFace(draw_dot(points[53]), points)
    motion = make_motion(points)
    made = swap_identity(still, motion, keep_shape=True)
    assert made.pictures.shape == (9, SIZE, SIZE)
    found = np.array([find_dot(picture) for picture in made.pictures])
    wanted = motion[:, 53] - np.median(motion[:, 53], axis=0) + points[53]
    np.testing.assert_allclose(found, wanted, atol=0.7)


def test_a_face_takes_on_the_shape_or_keeps_its_own() -> None:
    own, other = make_points(16.0), make_points(21.0)
    corner = 0
    still = StillFace(draw_dot(own[corner]), own)
    motion = np.repeat(other[None], 3, axis=0)
    kept, taken = (find_dot(swap_identity(still, motion, keep).pictures[0]) for keep in (True, False))
    np.testing.assert_allclose(kept, own[corner], atol=0.7)
    np.testing.assert_allclose(taken, other[corner], atol=1.0)


def test_a_motionless_clip_gives_a_motionless_face() -> None:
    points = make_points()
    still = StillFace(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8), points)
    made = swap_identity(still, np.repeat(points[None], 4, axis=0), keep_shape=True)
    assert (made.pictures == made.pictures[0]).all() and (made.points == made.points[0]).all()
    np.testing.assert_allclose(made.pictures[0].astype(int), still.picture.astype(int), atol=2)
