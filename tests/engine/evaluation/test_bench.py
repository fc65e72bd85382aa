"""Benchmark of one network (windows, prefixes, zero offset) and of several networks with pooled trials."""

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.evaluation.bench import (
    CHIN_POINTS,
    LIP_POINTS,
    SHAPES,
    Ablation,
    ConsistencyBenchmark,
    EvaluationOptions,
    Sides,
    ablate,
    compare_at_zero_offset,
    find_sound,
    list_ablations,
    measure_leading_silence,
    measure_sides,
    trim_silence,
)
from engine.evaluation.consistency import ScoredRows, evaluate_planted, evaluate_scored_rows
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.trials import Trial, TrialClip
from engine.faces.landmark_features import N_FEATURES
from engine.features.extractor import FeatureExtractor
from engine.models.compact import N_BANDS, N_SPEECH
from engine.pipeline import Engine
from engine.speech.filterbanks import filterbank_rows, log_mel
from engine.types import SAMPLES_PER_FRAME, Encoded, Evidence, Mode
from tests.fakes import JAW_COLUMN, FakeEncoder, FakeNets, FakeVoice, make_mouth, make_scorer, make_voice

OPTIONS = EvaluationOptions(seconds=(2.0,), in_depth=True, first_s=(3.0, 30.0))


def make_engine() -> Engine:
    return Engine(FeatureExtractor(FakeNets(), FakeVoice(), "seen"), make_scorer(), "fake")  # type: ignore[arg-type]


def make_row(number: int, n_frames: int = 100, late: int = 0, label: str = "real") -> MeasuredRow:
    mouth = make_mouth(n_frames + 40, number)
    lips = np.zeros((n_frames, -JAW_COLUMN), np.float32)
    lips[:, JAW_COLUMN] = mouth[20:-20]
    speech = np.repeat(mouth[20 - late : 20 - late + n_frames, None], N_SPEECH, axis=1).astype(np.float32)
    person, there = f"person {number}", np.ones(n_frames, bool)
    encoded = FakeEncoder().encode(lips, speech)
    clip = TrialClip(f"{number}.mp4", person, "lab", person, lips, speech, Evidence.both(there), encoded, there)
    row = Row(number, Path(clip.name), label, person, "lab", written=clip.name)
    score, offset = make_scorer().compare(encoded, clip.evidence) or (0.0, 0)
    return MeasuredRow(row, score, offset / 25, False, clip)


@pytest.fixture(scope="module")
def rows() -> list[MeasuredRow]:
    return [make_row(number, late=5) for number in range(4)]


def test_no_offset_finds_what_is_in_time_alone(rows: list[MeasuredRow]) -> None:
    compare, clip = compare_at_zero_offset(make_scorer()), rows[0].clip
    assert compare is not None
    held, best = compare(clip.encoded, clip.evidence), make_scorer().compare(clip.encoded, clip.evidence)
    assert held is not None and best is not None
    assert held[1] == 0 and best[1] == 5 and held[0] < best[0] - 0.2
    assert compare_at_zero_offset(make_scorer(Mode.PAPER)) is None


def test_prefixes_come_from_clips_long_enough(rows: list[MeasuredRow]) -> None:
    bench = ConsistencyBenchmark(make_engine(), [*rows, make_row(9, n_frames=60)], False, OPTIONS)
    begun = bench.measure_prefixes(3.0)
    assert [one.row.number for one in begun] == [0, 1, 2, 3] and {len(one.clip) for one in begun} == {75}
    sides = bench.score_prefixes(3.0)
    assert len(sides.real) == 4 and len(sides.other) == 12
    assert [trial.score for trial in sides.real] == pytest.approx([one.score for one in begun])
    assert not bench.score_prefixes(30.0).real


def test_others_are_the_labelled_clips_where_there_are_some(rows: list[MeasuredRow]) -> None:
    forged = make_row(7, label="fake")
    bench = ConsistencyBenchmark(make_engine(), [*rows, forged], True, OPTIONS)
    sides = bench.score_windows(2.0)
    assert len(sides.real) == 8 and {trial.face for trial in sides.other if isinstance(trial, Trial)} == {"7.mp4"}
    assert measure_sides([sides, Sides()], 0).n_other == 2


def test_several_networks_swap_voices_among_their_own_clips_alone(rows: list[MeasuredRow]) -> None:
    judged = [ScoredRows(make_engine(), rows[:2]), ScoredRows(make_engine(), rows[2:])]
    found = evaluate_scored_rows(judged, False, OPTIONS)
    assert (found.parting.n_real, found.parting.n_other) == (4, 4)  # each face with the one other voice of its network
    assert found.depth is not None and found.depth.by_first_s["3"].n_other == 4
    assert len(found.depth.scores["real"]) == 4 and len(found.depth.scores["swapped voice"]) == 4
    assert found.by_seconds["2"].n_real == 8
    together = evaluate_scored_rows([ScoredRows(make_engine(), rows)], False, EvaluationOptions(seconds=()))
    assert together.parting.n_other == 12
    planted = evaluate_planted(judged)
    assert planted.n_clips == 4 and planted.within_1_frame_own is not None
    assert (planted.within_1_frame_own.within_1_frame or 0) > 0.9  # 17 frames late is beyond the search
    assert planted.hits.within_1_frame == 0.0  # they are late themselves


def make_trial(silent: int = 0, after: int = 0, n_frames: int = 100) -> TrialClip:
    mouth = make_mouth(n_frames, 3)
    sound = make_voice(mouth)
    sound[: silent * SAMPLES_PER_FRAME] = 0
    sound[len(sound) - after * SAMPLES_PER_FRAME :] = 0
    speech, lips = log_mel(sound), np.zeros((n_frames, -JAW_COLUMN), np.float32)
    lips[:, JAW_COLUMN] = mouth
    real = np.ones(n_frames, bool)
    return TrialClip(
        "a.mp4", "a", "lab", "a", lips, speech, Evidence.both(real), FakeEncoder().encode(lips, speech), real
    )


def test_silence_is_what_lies_below_the_published_threshold() -> None:
    rng = np.random.default_rng(0)
    for peak, is_silent in ((0.0002, True), (0.002, False)):
        rows = log_mel(rng.uniform(-peak, peak, 20 * SAMPLES_PER_FRAME).astype(np.float32))
        assert (find_sound(rows) == (0, 0)) == is_silent


def test_avhubert_rows_mark_only_exact_silence() -> None:
    sound = make_voice(make_mouth(20, 1))
    sound[: 6 * SAMPLES_PER_FRAME] = 0
    assert find_sound(filterbank_rows(sound)) == (5, 20)  # the window of the step before reaches into the sound


def test_both_ends_are_cut_from_face_and_sound() -> None:
    clip = make_trial(silent=12, after=8)
    assert measure_leading_silence(clip) == pytest.approx(0.44, abs=0.04)
    cut = trim_silence(clip, FakeEncoder().encode)
    assert cut is not None and cut.voiced is not None
    assert len(cut) == len(cut.lips) == len(cut.speech) == len(cut.voiced) == len(cut.encoded.lips)
    assert 77 <= len(cut) <= 80
    assert np.array_equal(cut.speech, clip.speech[12 : 12 + len(cut)])


def test_clip_without_silence_is_unchanged() -> None:
    clip = make_trial()
    assert trim_silence(clip, FakeEncoder().encode) is clip
    assert measure_leading_silence(clip) == 0.0


def test_too_little_sound_gives_no_clip() -> None:
    assert trim_silence(make_trial(silent=80), FakeEncoder().encode) is None
    silent = make_trial(silent=100)
    assert trim_silence(silent, FakeEncoder().encode) is None
    assert measure_leading_silence(silent) == 4.0


OF_TIME = (Ablation.STILL, Ablation.SHUFFLED, Ablation.BACKWARDS, Ablation.ELSEWHERE)


def keep(lips: np.ndarray, speech: np.ndarray, evidence: Evidence | None = None) -> Encoded:
    """An encoder that embeds nothing: the rows themselves are looked at."""
    one = np.ones((len(lips), 1), np.float32)
    return Encoded(0, one, one, one[:, 0], one[:, 0])


def draw_clip(n_frames: int = 40, width: int = N_FEATURES) -> TrialClip:
    rng = np.random.default_rng(1)
    lips = rng.normal(size=(n_frames, width)).astype(np.float32)
    speech = rng.normal(size=(n_frames, N_SPEECH)).astype(np.float32)
    return TrialClip("a", "a", "", "a", lips, speech, Evidence.both(np.ones(n_frames, bool)), keep(lips, speech))


def without(kind: Ablation) -> tuple[TrialClip, TrialClip]:
    clip = draw_clip()
    (changed,) = ablate([clip], kind, keep)
    assert changed.lips.dtype == changed.speech.dtype == np.float32
    return clip, changed


def test_still_face_repeats_one_row() -> None:
    clip, changed = without(Ablation.STILL)
    assert np.ptp(changed.lips, axis=0).max() == 0 and np.array_equal(changed.speech, clip.speech)


def test_frames_come_back_in_another_order() -> None:
    clip, shuffled = without(Ablation.SHUFFLED)
    assert not np.array_equal(shuffled.lips, clip.lips)
    assert np.array_equal(np.sort(shuffled.lips[:, 0]), np.sort(clip.lips[:, 0]))
    clip, backwards = without(Ablation.BACKWARDS)
    assert np.array_equal(backwards.lips[::-1], clip.lips)


def test_a_voice_of_another_time_is_the_same_voice() -> None:
    clip, changed = without(Ablation.ELSEWHERE)
    assert np.array_equal(changed.lips, clip.lips) and np.array_equal(changed.speech[20:], clip.speech[:20])


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        (Ablation.NO_LIPS, [LIP_POINTS]),
        (Ablation.NO_CHIN, [CHIN_POINTS]),
        (Ablation.NO_SHAPES, [SHAPES]),
        (Ablation.ONLY_SHAPES, [LIP_POINTS, CHIN_POINTS]),
    ],
)
def test_freezing_a_feature_group_keeps_other_columns_moving(kind: Ablation, gone: list[slice]) -> None:
    clip, changed = without(kind)
    held = np.zeros(N_FEATURES, bool)
    for columns in gone:
        held[columns] = True
    assert held.any() and not held.all()
    assert np.ptp(changed.lips[:, held], axis=0).max() < 1e-6
    assert np.array_equal(changed.lips[:, ~held], clip.lips[:, ~held])


def test_loudness_and_residual_sum_to_the_sound() -> None:
    clip, loud = without(Ablation.LOUDNESS)
    steps = loud.speech.reshape(len(clip.speech), -1, N_BANDS)
    assert np.ptp(steps, axis=2).max() < 1e-6
    np.testing.assert_allclose(steps[:, :, 0], clip.speech.reshape(steps.shape).mean(axis=2), atol=1e-6)
    _, rest = without(Ablation.NO_LOUDNESS)
    np.testing.assert_allclose(rest.speech + loud.speech, clip.speech, atol=1e-6)


def test_avhubert_rows_have_no_feature_groups() -> None:
    clip = draw_clip(width=7)
    assert list_ablations(clip) == OF_TIME and set(list_ablations(draw_clip())) == set(Ablation)
    with pytest.raises(ValueError, match="blendshapes"):
        ablate([clip], Ablation.NO_SHAPES, keep)
