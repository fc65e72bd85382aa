"""Orders and weights of time: sums of one, smooth where they say so, and never the right order by mistake."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.forging.retiming import (
    SPEEDS,
    fit_speed,
    interpolate,
    permute_segments,
    pick_speed,
    smooth_away,
    walk,
    warp_smoothly,
)

RATE = 25.0
Weigh = Callable[[int, float, np.random.Generator], np.ndarray]
SMOOTH: dict[str, Weigh] = {
    "warp": warp_smoothly,
    "segments": permute_segments,
    "walk": walk,
    "low-pass": lambda n, rate, chance: smooth_away(n, rate),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("n_frames", [26, 31, 75, 250])
def test_weights_are_a_mean_of_the_clips_own_frames(name: str, n_frames: int) -> None:
    weights = SMOOTH[name](n_frames, RATE, np.random.default_rng(n_frames))
    assert weights.shape == (n_frames, n_frames)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(1), 1)


@pytest.mark.parametrize("name", ["warp", "segments", "walk"])
def test_chance_is_the_seeds_alone_and_the_order_is_changed(name: str) -> None:
    one, same, other = (SMOOTH[name](75, RATE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.allclose(one, other)
    assert np.abs(one @ np.arange(75) - np.arange(75)).max() > 2


@pytest.mark.parametrize("seed", range(8))
def test_a_warp_never_goes_back_keeps_its_ends_and_its_speeds(seed: int) -> None:
    times = warp_smoothly(100, RATE, np.random.default_rng(seed)) @ np.arange(100)
    speeds = np.diff(times)
    assert times[0] == pytest.approx(0, abs=1e-9) and times[-1] == pytest.approx(99)
    assert speeds.min() > 0.9 * SPEEDS[0] * 0.7 and speeds.max() < SPEEDS[1] / 0.7
    assert speeds.max() / speeds.min() > 1.3, "nothing was warped"
    assert np.abs(np.diff(speeds)).max() < 0.25, "it jerks"


@pytest.mark.parametrize(("hz", "left"), [(0.2, (0.95, 1.0)), (1.2, (0.35, 0.65)), (5.0, (0.0, 0.02))])
def test_the_low_pass_lets_slow_motion_through_alone(hz: float, left: tuple[float, float]) -> None:
    wave = np.sin(2 * np.pi * hz * np.arange(250) / RATE)
    passed = (smooth_away(250, RATE) @ wave)[50:200].std() / wave[50:200].std()
    assert left[0] <= passed <= left[1]


@pytest.mark.parametrize("seed", range(8))
def test_segments_show_all_of_the_clip_once_in_another_order(seed: int) -> None:
    weights = permute_segments(80, RATE, np.random.default_rng(seed))
    assert np.allclose(weights.sum(0), 1, atol=0.6) and 0.9 < weights.sum(0).mean() < 1.1
    times = weights.argmax(1)
    steps = np.diff(times)
    assert (steps == 1).mean() > 0.7, "there are no segments"
    assert (steps < 0).any() and np.abs(steps).max() > 5, "they are in their order"


def test_segments_fade_into_each_other_without_a_jump() -> None:
    slow = np.linspace(0, 1, 80)
    shown = permute_segments(80, RATE, np.random.default_rng(0)) @ slow
    assert np.abs(np.diff(shown)).max() < 0.6 * np.ptp(slow)
    assert np.abs(np.diff(shown)).max() > 3 / 80


@pytest.mark.parametrize("seed", range(8))
def test_a_walk_goes_to_and_fro_smoothly_and_stays_inside(seed: int) -> None:
    times = walk(100, RATE, np.random.default_rng(seed)) @ np.arange(100)
    assert times.min() >= 0 and times.max() <= 99
    steps = np.diff(times)
    assert (steps > 0.1).any() and (steps < -0.1).any()
    assert np.abs(steps).max() < 6 and np.abs(np.diff(steps)).max() < 1.2


def test_positions_between_frames_are_shared_by_both() -> None:
    weights = interpolate(np.array([0.0, 1.25, 3.0, 9.0]), 4)
    assert np.allclose(weights, [[1, 0, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1], [0, 0, 0, 1]])
    assert np.allclose(interpolate(np.zeros(3), 1), 1)


def test_faster_leaves_frames_out_and_slower_repeats_them() -> None:
    fast, slow = pick_speed(30, 1.5), pick_speed(30, 0.5)
    assert len(fast) == 20 and fast[:5].tolist() == [0, 1, 3, 4, 6]
    assert len(slow) == 60 and slow[:5].tolist() == [0, 0, 1, 1, 2] and slow[-1] == 29


@pytest.mark.parametrize(("n_frames", "speed"), [(100, 1.5), (31, 31 / 26), (26, 1.0), (20, 1.0)])
def test_a_short_clip_is_hurried_less(n_frames: int, speed: float) -> None:
    assert fit_speed(n_frames, 1.5, 26) == pytest.approx(speed)
    assert len(pick_speed(n_frames, fit_speed(n_frames, 1.5, 26))) >= min(n_frames, 26)
