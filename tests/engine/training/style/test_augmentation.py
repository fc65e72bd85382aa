"""Distortions: each does to time what it says, and to the face nothing."""

import numpy as np
import pytest

from engine.training.style.augmentation import AUGMENT, Augmentation, augment, resample, smooth

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


def test_speed_changes_as_told() -> None:
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


def test_smooth_ones_leave_no_jump() -> None:
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
