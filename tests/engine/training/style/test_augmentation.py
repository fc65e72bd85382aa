"""Distortions: each does to time what it says, and to the face nothing."""

import numpy as np
import pytest

from engine.faces.face_crops import SIZE
from engine.training.style.augmentation import (
    AUGMENT,
    Augmentation,
    StillFace,
    augment,
    resample,
    smooth,
    swap_identity,
)

JUMPING = {Augmentation.SHUFFLED, Augmentation.SWAPPED}
SMOOTH = {
    Augmentation.WANDERING,
    Augmentation.WARPED,
    Augmentation.SLOWED,
    Augmentation.SMOOTHED,
    Augmentation.SMOOTH_SHUFFLED,
}


def make_windows(n: int = 6, length: int = 31) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (smooth(rng.normal(size=(n, length, 4)).astype(np.float32), 1.5) + rng.normal(size=(n, 1, 4))).astype(
        np.float32
    )


def jump(windows: np.ndarray) -> float:
    """Largest step from frame to frame, over the spread."""
    return float((np.abs(np.diff(windows, axis=1)).max((1, 2)) / (windows.std(1).max(1) + 1e-6)).mean())


@pytest.mark.parametrize("kind", list(Augmentation))
def test_shape_stays_and_chance_alone_decides(kind: Augmentation) -> None:
    windows = make_windows()
    kept = windows.copy()
    first, second, third = (AUGMENT[kind](windows, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == windows.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(windows, kept)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, windows)
    if kind not in (Augmentation.REVERSED, Augmentation.SMOOTHED):
        assert not np.array_equal(first, third)


@pytest.mark.parametrize("kind", [Augmentation.SHUFFLED, Augmentation.REVERSED, Augmentation.SWAPPED])
def test_the_same_frames_in_another_order(kind: Augmentation) -> None:
    windows = make_windows()
    moved = AUGMENT[kind](windows, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(moved, axis=1), np.sort(windows, axis=1))


def test_a_frozen_window_is_one_of_its_frames() -> None:
    windows = make_windows()
    frozen = AUGMENT[Augmentation.FROZEN](windows, np.random.default_rng(0))
    assert (frozen == frozen[:, :1]).all()
    assert all((frozen[i, 0] == windows[i]).all(1).any() for i in range(len(windows)))


def test_speed_changes_by_requested_factor() -> None:
    ramp = np.tile(np.arange(31, dtype=np.float32)[None, :, None], (20, 1, 1))
    fast = np.abs(np.diff(AUGMENT[Augmentation.HASTENED](ramp, np.random.default_rng(0))[:, :10, 0], axis=1))
    slow = np.diff(AUGMENT[Augmentation.SLOWED](ramp, np.random.default_rng(0))[..., 0], axis=1)
    assert (fast > 1.29).all()
    assert (fast < 2.21).all()
    assert (slow > 0.44).all()
    assert (slow < 0.78).all()


def test_random_phases_keep_the_spectra() -> None:
    windows = make_windows()
    spectra = [
        np.abs(np.fft.rfft(w, axis=1))
        for w in (windows, AUGMENT[Augmentation.PHASES](windows, np.random.default_rng(0)))
    ]
    np.testing.assert_allclose(spectra[0][:, :15], spectra[1][:, :15], atol=1e-3)


def test_smooth_reordering_has_no_jump() -> None:
    windows = make_windows(40)
    own = jump(windows)
    for kind in SMOOTH:
        assert jump(AUGMENT[kind](windows, np.random.default_rng(0))) < 2 * own, kind
    for kind in JUMPING:
        assert jump(AUGMENT[kind](windows, np.random.default_rng(0))) > 1.2 * own, kind


def test_every_kind_is_drawn() -> None:
    windows = np.random.default_rng(0).normal(size=(300, 31, 2)).astype(np.float32)
    kinds = (Augmentation.FROZEN, Augmentation.REVERSED)
    made = augment(windows, kinds, np.random.default_rng(0))
    frozen = (made == made[:, :1]).all((1, 2))
    assert 100 < frozen.sum() < 200
    np.testing.assert_array_equal(made[~frozen], windows[~frozen, ::-1])


def test_resampling_is_linear_and_holds_the_ends() -> None:
    ramp = np.arange(5, dtype=np.float32)[None, :, None]
    np.testing.assert_allclose(resample(ramp, np.array([[-1, 0.25, 3.5, 9]]))[0, :, 0], [0, 0.25, 3.5, 4])


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
