"""Time weights and frame orders of the controls: normalised, smooth where required, never the original order."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.errors import NotForgeable
from engine.faces.tracking import track_faces
from engine.forging.kinds import CONTROLS, FORGERIES, LABELS, Kind
from engine.forging.retiming import (
    SPEEDS,
    control,
    fit_speed,
    interpolate,
    permute_segments,
    pick_speed,
    play_frames,
    smooth_away,
    walk,
    warp_smoothly,
)
from engine.forging.source_clips import SourceClip, load_source_clip
from engine.types import Frame
from tests.engine.faces.heads import align_heads
from tests.engine.forging.actors import Part, draw_astronaut, film, load_nets

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
def test_random_walk_is_smooth_and_stays_inside(seed: int) -> None:
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
def test_short_clip_is_sped_up_less(n_frames: int, speed: float) -> None:
    assert fit_speed(n_frames, 1.5, 26) == pytest.approx(speed)
    assert len(pick_speed(n_frames, fit_speed(n_frames, 1.5, 26))) >= min(n_frames, 26)


SMOOTH_KINDS = (Kind.RERENDERED, Kind.SMOOTHED, Kind.SMOOTH_WARP, Kind.SMOOTH_SEGMENTS, Kind.SMOOTH_WALK)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceClip:
    path = film(tmp_path_factory.mktemp("sources") / "one.mp4", draw_astronaut(), Part(seconds=1.6))
    return load_source_clip(Row(1, path, "real", speaker="astronaut", written="one.mp4"), load_nets())


@pytest.fixture(scope="module")
def frames(source: SourceClip) -> list[np.ndarray]:
    return list(source.read_images())


def draw(kind: Kind, source: SourceClip, seed: int = 0) -> list[np.ndarray]:
    return list(control(kind, source, np.random.default_rng(seed)).draw())


def find_numbers(images: list[np.ndarray], frames: list[np.ndarray]) -> list[int]:
    """Which frame of the clip each image is, to the pixel."""
    return [next(n for n, frame in enumerate(frames) if np.array_equal(image, frame)) for image in images]


def gap(images: list[np.ndarray]) -> np.ndarray:
    (track,) = track_faces([Frame(i, image, True) for i, image in enumerate(images)], load_nets()).tracks
    aligned = align_heads(track.landmarks)
    assert len(aligned) == len(images)
    return np.linalg.norm(aligned[:, 13] - aligned[:, 14], axis=1)


def test_untouched_is_every_frame_in_its_turn_with_its_sound(source: SourceClip, frames: list[np.ndarray]) -> None:
    plain = control(Kind.UNTOUCHED, source, np.random.default_rng(0))
    assert find_numbers(list(plain.draw()), frames) == list(range(40))
    assert plain.sound is source.sound and plain.voice == plain.face.speaker == plain.driver.speaker == "astronaut"


def test_frozen_is_one_frame_as_long_as_the_clip(source: SourceClip, frames: list[np.ndarray]) -> None:
    numbers = find_numbers(draw(Kind.FROZEN, source), frames)
    assert len(numbers) == 40 and len(set(numbers)) == 1


def test_shuffled_is_every_frame_once_out_of_turn(source: SourceClip, frames: list[np.ndarray]) -> None:
    numbers = find_numbers(draw(Kind.SHUFFLED, source), frames)
    assert sorted(numbers) == list(range(40)) and (np.diff(numbers) == 1).sum() < 8
    assert find_numbers(draw(Kind.SHUFFLED, source), frames) == numbers, "the same seed"
    assert find_numbers(draw(Kind.SHUFFLED, source, seed=1), frames) != numbers


def test_reversed_is_every_frame_backwards(source: SourceClip, frames: list[np.ndarray]) -> None:
    assert find_numbers(draw(Kind.REVERSED, source), frames) == list(range(40))[::-1]


def test_faster_and_slower_go_through_the_clip_at_their_speed(source: SourceClip, frames: list[np.ndarray]) -> None:
    fast, slow = (find_numbers(draw(kind, source), frames) for kind in (Kind.FASTER, Kind.SLOWER))
    assert (np.diff(fast) >= 1).all() and 39 / (len(fast) - 1) == pytest.approx(1.5, abs=0.1)
    assert (np.diff(slow) >= 0).all() and 39 / (len(slow) - 1) == pytest.approx(0.67, abs=0.05)
    assert control(Kind.FASTER, source, np.random.default_rng(0)).detail == "speed 1.54"


@pytest.mark.parametrize("kind", [Kind.SHUFFLED, Kind.REVERSED, Kind.FASTER, Kind.SMOOTH_WALK])
def test_where_time_is_wrong_there_is_no_sound(source: SourceClip, kind: Kind) -> None:
    made = control(kind, source, np.random.default_rng(0))
    assert made.sound is None and made.voice == ""


def test_clip_too_short_to_speed_up_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "short.mp4", draw_astronaut(), Part(seconds=1.08))
    short = load_source_clip(Row(1, path, "real", written="short.mp4"), load_nets())
    with pytest.raises(NotForgeable, match="too short to be played faster"):
        control(Kind.FASTER, short, np.random.default_rng(0))


def test_a_rerendered_clip_does_what_the_clip_does(source: SourceClip, rendered: np.ndarray) -> None:
    aligned = align_heads(source.track.landmarks)
    assert np.corrcoef(rendered, np.linalg.norm(aligned[:, 13] - aligned[:, 14], axis=1))[0, 1] > 0.95


def test_a_smoothed_clip_moves_less(source: SourceClip, rendered: np.ndarray) -> None:
    assert gap(draw(Kind.SMOOTHED, source)).std() < 0.6 * rendered.std()
    assert control(Kind.SMOOTHED, source, np.random.default_rng(0)).sound is source.sound


@pytest.fixture(scope="module")
def rendered(source: SourceClip) -> np.ndarray:
    """(T,) lips of the rendered clip."""
    return gap(draw(Kind.RERENDERED, source))


@pytest.mark.parametrize("kind", [Kind.SMOOTH_WARP, Kind.SMOOTH_SEGMENTS, Kind.SMOOTH_WALK])
def test_a_smooth_control_moves_as_smoothly_and_otherwise(source: SourceClip, rendered: np.ndarray, kind: Kind) -> None:
    moved = gap(draw(kind, source, seed=2))
    assert np.corrcoef(moved, rendered)[0, 1] < 0.8
    assert np.abs(np.diff(moved)).max() < 1.6 * np.abs(np.diff(rendered)).max(), "it jumps"
    assert moved.max() > 0.5 * rendered.max(), "nobody speaks"


@pytest.mark.parametrize("kind", SMOOTH_KINDS)
def test_the_mark_is_kept_clear_of_the_face_as_it_is_drawn(source: SourceClip, kind: Kind) -> None:
    made = control(kind, source, np.random.default_rng(0))
    assert len(made.outlines) == len(source)
    images = itertools.islice(made.draw(), 12)
    (track,) = track_faces([Frame(i, image, True) for i, image in enumerate(images)], load_nets()).tracks
    found, drawn = track.landmarks[5, :468, :2], made.outlines[5]
    assert np.abs(found.min(0) - drawn.min(0)).max() < 8 and np.abs(found.max(0) - drawn.max(0)).max() < 8


def test_every_kind_is_a_control_or_a_forgery_and_has_a_label() -> None:
    assert set(CONTROLS) | set(FORGERIES) == set(Kind) == set(LABELS) and not set(CONTROLS) & set(FORGERIES)
    assert len(CONTROLS) == 11 and len(FORGERIES) == 11
    assert "real" not in LABELS.values() and {LABELS[kind] for kind in CONTROLS} == {"control"}


def test_a_forgery_is_no_control(source: SourceClip) -> None:
    with pytest.raises(ValueError, match="no control"):
        control(Kind.FACE_SWAP, source, np.random.default_rng(0))


def test_frames_too_many_to_keep_are_refused(source: SourceClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.forging.retiming.MAX_STORE_BYTES", 10_000_000 // 4)
    with pytest.raises(NotForgeable, match="too many"):
        next(play_frames(source, np.array([1, 0])))
    assert len(list(play_frames(source, np.arange(5)))) == 5, "in turn they need not be kept"
