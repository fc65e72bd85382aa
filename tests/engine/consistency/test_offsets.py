"""Scores and offsets of random unit rows, equal on both sides and shifted by a known offset."""

import time
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from engine.consistency.offsets import (
    PLAIN_MEAN,
    Consistency,
    ConsistencyOptions,
    FramePairs,
    follow_offset,
    measure_consistency,
    measure_pooled,
    measure_prominence,
)
from engine.types import FPS, Encoded, Evidence, SyncCurve

PLAIN = ConsistencyOptions()


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(n_frames: int, seed: int, dim: int = 16) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n_frames, dim)))


def pair(lips: np.ndarray, speech: np.ndarray, seed: int | None = None, start: int = 0) -> Encoded:
    """Both sides on one clock; weights of 1, or drawn."""
    ones = np.ones(len(lips), np.float32)
    if seed is None:
        return Encoded(start, lips, speech, ones, ones)
    weights = np.random.default_rng(seed).uniform(0.05, 1, (2, len(lips))).astype(np.float32)
    return Encoded(start, lips, speech, weights[0], weights[1])


def delayed(n_frames: int, late: int, seed: int = 0, noise: float = 0.0) -> Encoded:
    """Sound that comes `late` frames after the lips that made it."""
    rows = draw(n_frames + 200, seed)
    lips, speech = rows[100 : 100 + n_frames], rows[100 - late : 100 - late + n_frames]
    return pair(unit(lips + noise * draw(n_frames, seed + 1)), speech)


def measure(encoded: Encoded, mask: np.ndarray | None = None, options: ConsistencyOptions = PLAIN) -> Consistency:
    mask = np.ones(len(encoded.lips), bool) if mask is None else mask
    found = measure_consistency(encoded, Evidence.both(mask), options)
    assert found is not None
    return found


@pytest.mark.parametrize("late", [-15, -12, -1, 0, 1, 7, 15])
def test_a_planted_offset_is_found_positive_where_the_sound_is_late(late: int) -> None:
    found = measure(delayed(150, late))
    assert found.offset_s == pytest.approx(late / FPS)
    assert found.curve.offsets_s[found.curve.similarity.argmax()] == pytest.approx(late / FPS)
    assert found.curve.similarity.max() == pytest.approx(1, abs=1e-5)
    assert found.beyond_s is None


@pytest.mark.parametrize("late", [-40, 30])
def test_wider_search_finds_an_offset_beyond_the_first(late: int) -> None:
    assert measure(delayed(200, late)).beyond_s == pytest.approx(late / FPS)


def test_pairs_with_an_unreal_side_count_nowhere() -> None:
    rng = np.random.default_rng(3)
    encoded, mask = delayed(120, 2), rng.random(120) > 0.4
    spoiled = pair(encoded.lips.copy(), encoded.speech.copy())
    spoiled.lips[~mask] = draw(int((~mask).sum()), 8)
    spoiled.speech[~mask] = draw(int((~mask).sum()), 9)
    first, second = measure(encoded, mask), measure(spoiled, mask)
    assert np.array_equal(first.curve.similarity, second.curve.similarity)
    assert (first.score, first.offset_s, first.dynamic_score) == (second.score, second.offset_s, second.dynamic_score)
    wanted = [
        int((mask[max(0, -k) : 120 - max(0, k)] & mask[max(0, k) : 120 - max(0, -k)]).sum()) for k in range(-15, 16)
    ]
    assert first.curve.pairs.tolist() == wanted
    assert measure(spoiled).score < second.score - 0.1  # and without the mask they do


def test_the_curve_equals_a_slow_weighted_mean() -> None:
    encoded, mask = pair(draw(40, 0), draw(40, 1), seed=2), np.arange(40) % 7 != 0
    curve = FramePairs.of(encoded, Evidence.both(mask), PLAIN).curve(0, 40)
    for k in range(-15, 16):
        total = weight = 0.0
        for t in range(max(0, -k), min(40, 40 - k)):
            w = float(encoded.lips_weight[t] * encoded.speech_weight[t + k] * mask[t] * mask[t + k])
            total, weight = total + w * float(encoded.lips[t] @ encoded.speech[t + k]), weight + w
        assert curve.similarity[k + 15] == pytest.approx(total / weight, abs=1e-5)


def test_offsets_with_too_few_pairs_have_no_value() -> None:
    curve = measure(delayed(20, 0)).curve
    few = np.abs(np.arange(-15, 16)) > 10  # 20 frames have 20 - |k| pairs, 10 are required
    assert np.array_equal(np.isnan(curve.similarity), few)
    assert curve.pairs.tolist() == [20 - abs(k) for k in range(-15, 16)]


@pytest.mark.parametrize("n_real", [0, 9])
def test_nothing_is_measured_where_too_little_is_real(n_real: int) -> None:
    assert measure_consistency(delayed(60, 0), Evidence.both(np.arange(60) < n_real)) is None


def test_the_baseline_is_the_mean_over_all_pairs_of_times() -> None:
    encoded, mask = pair(draw(30, 4), draw(30, 5), seed=6), np.random.default_rng(7).random(30) > 0.3
    total = weight = 0.0
    for t in range(5, 25):
        for s in range(5, 25):
            w = float(encoded.lips_weight[t] * encoded.speech_weight[s] * mask[t] * mask[s])
            total, weight = total + w * float(encoded.lips[t] @ encoded.speech[s]), weight + w
    assert FramePairs.of(encoded, Evidence.both(mask), PLAIN).baseline(5, 25) == pytest.approx(total / weight, abs=1e-5)


def test_the_score_is_the_height_less_half_the_baseline() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    lips, speech = np.array([east, north, east], np.float32), np.array([north, east, north], np.float32)
    options = ConsistencyOptions(max_offset=1, min_pairs=1, offset_cost=0.05, near_offset=2)
    best = FramePairs.of(pair(lips, speech), Evidence.both(np.ones(3, bool)), options).find_best(0, 3)
    assert best is not None
    # no pair agrees at offset 0, both of 2 do at +-1 (the first is taken); of all 9, (2 * 1 + 1 * 2) agree
    assert best.offset == -1
    assert best.score == pytest.approx(1.0 * (2 / 3) ** 0.5 - 0.05 / 2 - 0.5 * 4 / 9, abs=1e-6)


@pytest.mark.parametrize(("late", "cost"), [(0, 0.0), (2, 0.04), (5, 0.1), (9, 0.1)])
def test_an_offset_costs_up_to_a_tenth(late: int, cost: float) -> None:
    free = measure(delayed(163, late), options=ConsistencyOptions(offset_cost=0.0))
    found = measure(delayed(163, late), options=ConsistencyOptions())
    assert found.offset_s == free.offset_s == late / FPS
    assert free.score - found.score == pytest.approx(cost, abs=1e-6)


def test_windows_cover_the_clip_and_say_when() -> None:
    windows = measure(delayed(163, 3)).windows
    assert windows[0].start_s == 0 and windows[-1].end_s == pytest.approx(163 / FPS)
    for one, following in pairwise(windows):
        assert one.start_s < following.start_s <= one.end_s
        assert one.end_s - one.start_s == pytest.approx(2.0)
    assert {round(window.offset_s * FPS) for window in windows} == {3}
    encoded = delayed(163, 3)
    moved = pair(encoded.lips, encoded.speech, start=50)
    assert [window.start_s for window in measure(moved).windows] == pytest.approx([w.start_s + 2 for w in windows])


def test_a_window_is_scored_at_the_offset_of_the_track_too() -> None:
    encoded = delayed(400, 0, noise=0.3)
    speech = encoded.speech.copy()
    speech[200:] = np.roll(speech, 7, axis=0)[200:]  # from 8 s on the sound is 0.28 s late
    windows = measure(pair(encoded.lips, speech)).windows
    own = [one for one in windows if one.end_s <= 8]
    late = [one for one in windows if one.start_s >= 8]
    assert len(own) >= 6 and len(late) >= 6
    assert [one.track_score for one in own] == [one.score for one in own]
    assert {round(one.offset_s * FPS) for one in late} == {7}
    assert all(one.track_score is not None and one.track_score < one.score - 0.3 for one in late)


def test_a_segment_has_no_score_at_an_offset_with_too_few_pairs() -> None:
    pairs = FramePairs.of(delayed(20, 0), Evidence.both(np.ones(20, bool)), PLAIN)
    assert pairs.score_at(0, 20, 12) is None  # 8 pairs, 10 are required
    best = pairs.find_best(0, 20)
    assert best is not None and pairs.score_at(0, 20, best.offset) == best.score


def test_a_window_without_real_frames_is_left_out() -> None:
    mask = np.arange(300) < 150
    assert max(window.end_s for window in measure(delayed(300, 0), mask).windows) < 190 / FPS


def test_a_clip_swapped_half_way_scores_high_in_one_half_alone() -> None:
    encoded = delayed(400, 0, noise=0.3)
    speech = encoded.speech.copy()
    speech[200:] = draw(200, 77)
    windows = measure(pair(encoded.lips, speech)).windows
    own = [window.score for window in windows if window.end_s <= 8]
    other = [window.score for window in windows if window.start_s >= 8]
    assert len(own) >= 6 and len(other) >= 6
    assert min(own) > max(other) + 0.3


@pytest.mark.parametrize(("late", "later"), [(-3, 4), (5, 1)])
def test_drift_is_found_along_the_path(late: int, later: int) -> None:
    rows, n_frames = draw(720, 0), 500
    offsets = np.round(np.linspace(late, later, 4)).astype(int).repeat(125)
    speech = rows[100 + np.arange(n_frames) - offsets]
    found = measure(pair(rows[100 : 100 + n_frames], speech))
    assert found.drift_s == pytest.approx((later - late) / FPS)
    assert found.dynamic_score > found.curve.similarity.max() + 0.3


@pytest.mark.parametrize("late", [-8, 0, 5])
def test_a_constant_offset_is_no_drift(late: int) -> None:
    found = measure(delayed(700, late, noise=1.5))
    assert found.drift_s == 0
    assert found.dynamic_score == pytest.approx(found.curve.similarity.max(), abs=0.05)


def test_a_change_too_small_to_earn_its_cost_is_no_drift() -> None:
    rows = draw(460, 0)
    speech = rows[100:350].copy()
    noise = pair(unit(0.02 * rows[100:350] + draw(250, 5)), speech)  # hardly anything agrees anywhere
    dear = ConsistencyOptions(drift_cost=1.0)
    assert measure(noise, options=dear).drift_s == 0
    assert measure(noise, options=ConsistencyOptions(drift_cost=0.0)).drift_s != 0


def test_silence_in_between_neither_moves_the_path_nor_lowers_it() -> None:
    encoded, mask = delayed(625, 4), np.ones(625, bool)
    mask[125:375] = False
    found = measure(encoded, mask)
    assert found.drift_s == 0
    assert found.dynamic_score == pytest.approx(1, abs=1e-5)


def test_real_frames_too_scattered_for_any_window_of_the_path_still_give_numbers() -> None:
    mask = np.arange(300) % 33 == 0  # ten frames, four at most in a window
    found = measure(delayed(300, 0), mask)
    assert (found.score, found.offset_s, found.drift_s) == (pytest.approx(1, abs=0.1), 0, 0)
    assert found.dynamic_score == pytest.approx(1, abs=1e-5)
    assert found.windows == ()


def test_where_a_clip_stands_in_its_track_changes_nothing() -> None:
    encoded = delayed(150, -4, noise=0.8)
    padded = [
        np.concatenate([draw(70, 20 + i), rows, draw(35, 30 + i)])
        for i, rows in enumerate((encoded.lips, encoded.speech))
    ]
    mask = np.zeros(255, bool)
    mask[70:220] = True
    alone, inside = measure(encoded), measure(pair(padded[0], padded[1]), mask)
    assert np.allclose(alone.curve.similarity, inside.curve.similarity, atol=1e-6)
    assert np.array_equal(alone.curve.pairs, inside.curve.pairs)
    assert (alone.offset_s, alone.score) == (inside.offset_s, pytest.approx(inside.score, abs=1e-5))


def test_fifteen_minutes_take_little_memory_and_time() -> None:
    encoded = delayed(22_500, 6)
    wide = pair(np.repeat(encoded.lips, 18, axis=1) / 18**0.5, np.repeat(encoded.speech, 18, axis=1) / 18**0.5)
    assert wide.lips.shape == (22_500, 288)
    tracemalloc.start()
    began = time.process_time()
    found = measure(wide)
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.offset_s == pytest.approx(6 / FPS)
    assert len(found.windows) == 899
    assert peak < 400e6  # a matrix of all times with all times would be 2 GB
    assert spent < 30


def test_plain_mean_is_the_highest_mean_over_real_pairs() -> None:
    encoded = delayed(120, 9, noise=1.0)
    mask = np.arange(120) >= 20
    found = measure(encoded, mask, PLAIN_MEAN)
    means = []
    for k in range(-15, 16):
        pairs = [t for t in range(120) if 0 <= t + k < 120 and mask[t] and mask[t + k]]
        means.append(np.mean([encoded.lips[t] @ encoded.speech[t + k] for t in pairs]))
    assert found.score == pytest.approx(max(means), abs=1e-6)
    assert found.offset_s == pytest.approx((int(np.argmax(means)) - 15) / FPS) == pytest.approx(9 / FPS)


def test_plain_mean_takes_nothing_off_for_an_offset() -> None:
    near, far = (measure(delayed(100, late), None, PLAIN_MEAN) for late in (0, 14))
    assert near.score == pytest.approx(far.score, abs=0.02) == pytest.approx(1.0, abs=0.02)


def test_plain_mean_searches_no_further() -> None:
    assert measure(delayed(200, 30), None, PLAIN_MEAN).beyond_s is None


def test_prominence_is_high_at_a_true_offset_and_low_for_noise() -> None:
    assert measure(delayed(250, 4, noise=1.0)).prominence > 5
    assert measure(pair(draw(250, 1), draw(250, 2))).prominence < 4


def test_prominence_has_no_scale_and_needs_a_background() -> None:
    values = np.random.default_rng(0).normal(size=101)
    values[50] = 6.0
    curve = SyncCurve(np.arange(-50, 51) / FPS, values, np.full(101, 50))
    scaled = replace(curve, similarity=0.01 * values - 3)
    assert measure_prominence(curve, 0, 5) == pytest.approx(measure_prominence(scaled, 0, 5), rel=1e-6)
    away = np.delete(values, np.arange(45, 56))
    assert measure_prominence(curve, 0, 5) == pytest.approx((6.0 - away.mean()) / away.std())
    short = replace(curve, similarity=np.where(np.abs(np.arange(-50, 51)) < 10, values, np.nan))
    assert measure_prominence(short, 0, 5) == 0.0
    flat = replace(curve, similarity=np.zeros(101))
    assert measure_prominence(flat, 0, 5) == 0.0


def test_pair_is_real_where_its_lips_are_seen_and_its_speech_is_heard() -> None:
    rng = np.random.default_rng(11)
    encoded, seen, heard = pair(draw(60, 0), draw(60, 1), seed=2), rng.random(60) > 0.4, rng.random(60) > 0.4
    curve = FramePairs.of(encoded, Evidence(seen, heard), PLAIN).curve(0, 60)
    for k in range(-15, 16):
        frames = [t for t in range(60) if 0 <= t + k < 60 and seen[t] and heard[t + k]]
        assert curve.pairs[k + 15] == len(frames)
        weights = np.array([encoded.lips_weight[t] * encoded.speech_weight[t + k] for t in frames])
        cosines = np.array([encoded.lips[t] @ encoded.speech[t + k] for t in frames])
        assert curve.similarity[k + 15] == pytest.approx((weights * cosines).sum() / weights.sum(), abs=1e-5)


def test_late_sound_is_compared_with_lips_that_spoke_while_the_microphone_was_off() -> None:
    everywhere = np.ones(150, bool)
    heard = np.arange(150) >= 70
    found = measure_consistency(delayed(150, 12), Evidence(everywhere, heard))
    assert found is not None and found.offset_s == pytest.approx(12 / FPS)
    assert found.curve.pairs[27] == 80  # speech of frames 70 to 149 with lips of 58 to 137


@pytest.mark.parametrize(("hole", "starts"), [((125, 250), [0, 1, 2, 3, 4, 9, 10]), ((0, 140), [5, 6, 7, 8, 9, 10])])
def test_windows_without_evidence_leave_a_hole_in_the_timeline(hole: tuple[int, int], starts: list[int]) -> None:
    heard = np.ones(300, bool)
    heard[slice(*hole)] = False
    found = measure_consistency(delayed(300, 0, noise=0.5), Evidence(np.ones(300, bool), heard))
    assert found is not None and [window.start_s for window in found.windows] == starts
    assert min(window.score for window in found.windows) > 0.5


def test_drift_path_weighs_a_window_by_its_pairs() -> None:
    encoded, seen = delayed(500, 0, noise=0.5), np.arange(500) < 388  # thirteen frames of the last window
    speech = encoded.speech.copy()
    speech[375:387], speech[387:400] = draw(12, 5), encoded.lips[375:388]  # late by 12 frames there
    found = measure_consistency(pair(encoded.lips, speech), Evidence(seen, np.ones(500, bool)))
    assert found is not None and found.drift_s == 0


def draw_smooth() -> np.ndarray:
    """(500, 16): half a frame of delay changes their similarity little."""
    noise = np.random.default_rng(5).normal(size=(620, 16))
    return unit(np.apply_along_axis(np.convolve, 0, noise, np.hanning(9), "valid"))[100:600]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (500, 0), (0, 500), (300, 200)])
def test_a_steady_drift_is_one_voice_wherever_a_pause_is(before: int, after: int) -> None:
    rows, late = draw_smooth(), np.linspace(0, 8, 500).round().astype(int)
    around = ((before, after), (0, 0))
    lips, speech = np.pad(rows[20:], around), np.pad(rows[np.arange(500) - late][20:], around)
    segments = measure(pair(lips, speech), np.pad(np.ones(480, bool), around[0])).segments
    assert segments and not any(one.is_foreign for one in segments)


def test_a_voice_that_takes_over_is_foreign() -> None:
    rows = draw_smooth()
    taken = rows.copy()
    taken[250:] = rows[:250][::-1]
    found = measure(pair(rows, taken))
    (foreign,) = [one for one in found.segments if one.is_foreign]
    assert abs(foreign.first - 250) <= 5 and foreign.last == 500
    assert found.own_score is not None and found.own_score > 0.8 > found.score


def test_pooled_tracks_share_one_offset_and_no_pair_joins_two_tracks() -> None:
    one, other, everywhere = delayed(60, 4, noise=0.5), delayed(45, 4, noise=0.5), Evidence.both
    parts = [(one, everywhere(np.ones(60, bool))), (other, everywhere(np.ones(45, bool)))]
    found = measure_pooled(parts)
    assert found is not None and found.offset_s == pytest.approx(4 / FPS)
    assert found.curve.pairs[15] == 105 and found.curve.pairs[19] == (60 - 4) + (45 - 4)
    assert (found.windows, found.drift_s, found.dynamic_score) == ((), None, None)


def test_one_track_pooled_scores_as_alone() -> None:
    part = delayed(120, 3, noise=0.5), Evidence.both(np.ones(120, bool))
    alone, pooled = measure_consistency(*part), measure_pooled([part])
    assert alone is not None and pooled is not None
    assert (pooled.score, pooled.offset_s, pooled.prominence) == (alone.score, alone.offset_s, alone.prominence)
    unseen = part[0], Evidence.both(np.zeros(120, bool))
    assert measure_pooled([unseen]) is None


def test_a_followed_offset_loses_half_of_what_the_face_has_with_all_audio() -> None:
    similarity = np.full((40, 31), 0.2)
    similarity[:, 17] = 0.8
    options = ConsistencyOptions()
    pairs = FramePairs(similarity, np.ones((40, 31)), np.ones((40, 3)), np.ones((40, 3)), options)
    found, weight = follow_offset(pairs, np.full(40, 2))
    np.testing.assert_allclose(found, 0.8 - 0.5 * 0.2)
    np.testing.assert_array_equal(weight, 1)
    plain, _ = follow_offset(replace(pairs, options=replace(PLAIN_MEAN, max_offset=15)), np.full(40, 2))
    np.testing.assert_allclose(plain, 0.8)
