"""Trials on synthetic clips with known truth: the lips equal the voice some frames earlier."""

from functools import partial

import numpy as np
import pytest

from engine.consistency.offsets import ConsistencyOptions, find_offset, measure_consistency
from engine.evaluation.trials import (
    Trial,
    TrialClip,
    cut_windows,
    plant_offsets,
    score_other_voices,
    score_own_voices,
    shift_sound,
    shuffle_faces,
)
from engine.metrics import bootstrap_interval, rank_auc
from engine.types import Encoded, Evidence


def everywhere(n_frames: int) -> Evidence:
    return Evidence.both(np.ones(n_frames, bool))


def encode(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
    """Rows with mean square 1 and isotropic distribution: the similarity of two frames is their product.

    Whole clips are then mutually dissimilar; otherwise shapes alone would separate voices in any frame order.
    """

    def embed(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(0)
        values, vectors = np.linalg.eigh(np.cov(centred.T, bias=True))
        return (centred @ (vectors / np.sqrt(values)) @ vectors.T / np.sqrt(len(values))).astype(np.float32)

    ones = np.ones(len(lips), np.float32)
    return Encoded(0, embed(lips), embed(speech), ones, ones)


def make_clip(seed: int, n_frames: int = 100, late: int = 0, noise: float = 0.5, speaker: str = "") -> TrialClip:
    """Build a clip with audio `late` frames after the lips."""
    rng = np.random.default_rng(seed)
    speech = rng.normal(size=(n_frames + 40, 6)).astype(np.float32)
    speech[1:] += speech[:-1]  # neighbours are alike, as in speech
    lips = speech + noise * rng.normal(size=speech.shape).astype(np.float32)
    lips, speech = lips[20 : 20 + n_frames], speech[20 - late : 20 - late + n_frames]
    name = speaker or f"speaker {seed}"
    return TrialClip(f"{seed}.mp4", name, "lab", name, lips, speech, everywhere(n_frames), encode(lips, speech))


@pytest.fixture
def clips() -> list[TrialClip]:
    return [make_clip(seed, 80 + 10 * seed) for seed in range(8)]


def scores(trials: list[Trial]) -> list[float]:
    return [trial.score for trial in trials]


def test_the_score_and_the_offset_are_the_products_own() -> None:
    clip = make_clip(0, late=4)
    mask = Evidence.both(np.arange(100) > 30)
    found = measure_consistency(clip.encoded, mask)
    assert found is not None
    assert (
        find_offset(clip.encoded, mask) == (found.score, round(found.offset_s * 25)) == (pytest.approx(found.score), 4)
    )
    few = Evidence.both(np.arange(100) > 92)
    assert find_offset(clip.encoded, few) is None
    assert measure_consistency(clip.encoded, few) is None


def test_own_voices_score_above_others(clips: list[TrialClip]) -> None:
    own, other = score_own_voices(clips), score_other_voices(clips)
    assert (len(own), len(other)) == (8, 8 * 7)
    assert all(trial.face == trial.voice and trial.offset == 0 for trial in own)
    assert min(scores(own)) > max(scores(other))


def test_rows_that_are_the_same_on_both_sides_score_one() -> None:
    (trial,) = score_own_voices([make_clip(0, noise=0)])
    assert trial.score == pytest.approx(1.0)
    assert trial.offset == 0


def test_other_voices_exclude_own_speaker() -> None:
    clips = [make_clip(seed, speaker="Ada" if seed < 3 else "Ben") for seed in range(5)]
    trials = score_other_voices(clips)
    people = {clip.name: clip.speaker for clip in clips}
    assert len(trials) == 3 * 2 * 2
    assert all(people[trial.face] != people[trial.voice] for trial in trials)
    assert {trial.group for trial in trials} == {"Ada", "Ben"}
    assert score_other_voices(clips[:3]) == []


def test_other_voices_are_drawn_by_the_seed_and_no_more_than_asked(clips: list[TrialClip]) -> None:
    pairs = [[(t.face, t.voice) for t in score_other_voices(clips, per_face=2, seed=seed)] for seed in (0, 0, 1)]
    assert len(pairs[0]) == len(set(pairs[0])) == 16
    assert pairs[0] == pairs[1] != pairs[2]


def test_the_longer_side_is_cut_and_never_padded() -> None:
    long, short = make_clip(1, 120), make_clip(2, 60)
    (one, other) = score_other_voices([long, short])
    cut = make_clip(1, 120)
    whole = Encoded(0, cut.encoded.lips[:60], short.encoded.speech, np.ones(60), np.ones(60))
    assert find_offset(whole, everywhere(60)) == (pytest.approx(one.score), one.offset)
    assert other.face == "2.mp4"
    assert score_other_voices([long, make_clip(3, 20)]) == []


def test_windows_are_whole_and_independent_of_context(clips: list[TrialClip]) -> None:
    seen: list[int] = []

    def count(lips: np.ndarray, speech: np.ndarray, evidence: Evidence) -> Encoded:
        seen.append(len(lips))
        return encode(lips, speech)

    windows = cut_windows(clips[:2], 25, count)
    assert [window.name for window in windows] == ["0.mp4"] * 3 + ["1.mp4"] * 3
    assert seen == [25] * 6
    np.testing.assert_array_equal(windows[1].lips, clips[0].lips[25:50])
    np.testing.assert_array_equal(windows[1].encoded.lips, encode(clips[0].lips[25:50], clips[0].speech[25:50]).lips)
    assert cut_windows(clips, 500, encode) == []
    other = score_other_voices(windows)
    assert len(other) == 6 * 3  # with the windows of the other clip alone


@pytest.mark.parametrize("own", [0, 1, -2])
def test_a_planted_offset_is_found(own: int) -> None:
    planted = list(plant_offsets([make_clip(5, late=own)], encode))
    assert [one.planted for one in planted] == list(range(-12, 13))
    assert all(one.own == own and one.found == one.planted + own for one in planted)
    assert {one.error for one in planted} == {abs(own)}
    assert {one.own_error for one in planted} == {0}


def test_moving_the_sound_cuts_both_sides_and_keeps_the_mask_true() -> None:
    clip = make_clip(0, 50)
    mask = np.ones(50, bool)
    mask[10] = False
    holed = TrialClip("a", "a", "", "a", clip.lips, clip.speech, Evidence.both(mask), clip.encoded)
    late = shift_sound(holed, 3, encode)
    np.testing.assert_array_equal(late.lips, clip.lips[3:])
    np.testing.assert_array_equal(late.speech, clip.speech[:-3])
    assert np.flatnonzero(~late.evidence.lips).tolist() == [7]
    assert np.flatnonzero(~late.evidence.speech).tolist() == [10]
    early = shift_sound(holed, -3, encode)
    np.testing.assert_array_equal(early.lips, clip.lips[:-3])
    np.testing.assert_array_equal(early.speech, clip.speech[3:])


def test_an_offset_beyond_the_search_is_not_found() -> None:
    narrow = partial(find_offset, options=ConsistencyOptions(max_offset=5))
    (one,) = plant_offsets([make_clip(0, 100)], encode, [9], narrow)
    assert one.error >= 4


def test_clips_too_short_to_be_moved_are_left_out() -> None:
    assert list(plant_offsets([make_clip(0, 36)], encode)) == []
    assert len(list(plant_offsets([make_clip(0, 37)], encode))) == 25


def test_shuffling_moves_frames_and_changes_none() -> None:
    clip = make_clip(3)
    (shuffled,) = shuffle_faces([clip], encode)
    assert not np.array_equal(shuffled.lips, clip.lips)
    np.testing.assert_array_equal(np.sort(shuffled.lips, axis=0), np.sort(clip.lips, axis=0))
    np.testing.assert_array_equal(shuffled.encoded.lips, encode(shuffled.lips, clip.speech).lips)
    np.testing.assert_array_equal(shuffled.speech, clip.speech)


def test_shuffled_faces_score_like_other_voices() -> None:
    holds = []
    for seed in range(4):
        clips = shuffle_faces([make_clip(1000 * seed + i) for i in range(40)], encode, seed)
        trials = score_own_voices(clips) + score_other_voices(clips, per_face=3)
        is_own = [trial.face == trial.voice for trial in trials]
        low, high = bootstrap_interval(rank_auc, scores(trials), is_own, [trial.group for trial in trials], n=100)
        holds.append(low <= 0.5 <= high)
        assert high - low < 0.4
    assert sum(holds) >= 3  # one of twenty may miss by chance


def test_rows_of_two_lengths_are_refused() -> None:
    clip = make_clip(0)
    with pytest.raises(ValueError, match=r"0\.mp4.*differ in length"):
        TrialClip("0.mp4", "a", "", "a", clip.lips[1:], clip.speech, clip.evidence, clip.encoded)
