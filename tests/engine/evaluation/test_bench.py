"""One network and its clips: windows, beginnings, no offset; and several networks whose trials are told together."""

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.evaluation.bench import (
    ConsistencyBenchmark,
    EvaluationOptions,
    Sides,
    compare_at_zero_offset,
    measure_sides,
)
from engine.evaluation.consistency import ScoredRows, evaluate_planted, evaluate_scored_rows
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.trials import Trial, TrialClip
from engine.features.extractor import FeatureExtractor
from engine.models.compact import N_SPEECH
from engine.pipeline import Engine
from engine.types import Mode
from tests.fakes import JAW_COLUMN, FakeEncoder, FakeNets, FakeVoice, make_expert, make_mouth

OPTIONS = EvaluationOptions(seconds=(2.0,), in_depth=True, first_s=(3.0, 30.0))


def make_engine() -> Engine:
    return Engine(FeatureExtractor(FakeNets(), FakeVoice(), "seen"), make_expert(), "fake")  # type: ignore[arg-type]


def make_row(number: int, n_frames: int = 100, late: int = 0, label: str = "real") -> MeasuredRow:
    mouth = make_mouth(n_frames + 40, number)
    lips = np.zeros((n_frames, -JAW_COLUMN), np.float32)
    lips[:, JAW_COLUMN] = mouth[20:-20]
    speech = np.repeat(mouth[20 - late : 20 - late + n_frames, None], N_SPEECH, axis=1).astype(np.float32)
    person, there = f"person {number}", np.ones(n_frames, bool)
    encoded = FakeEncoder().encode(lips, speech)
    clip = TrialClip(f"{number}.mp4", person, "lab", person, lips, speech, there, encoded, there)
    row = Row(number, Path(clip.name), label, person, "lab", written=clip.name)
    score, offset = make_expert().compare(encoded, there) or (0.0, 0)
    return MeasuredRow(row, score, offset / 25, False, clip)


@pytest.fixture(scope="module")
def rows() -> list[MeasuredRow]:
    return [make_row(number, late=5) for number in range(4)]


def test_no_offset_finds_what_is_in_time_alone(rows: list[MeasuredRow]) -> None:
    compare, clip = compare_at_zero_offset(make_expert()), rows[0].clip
    assert compare is not None
    held, best = compare(clip.encoded, clip.mask), make_expert().compare(clip.encoded, clip.mask)
    assert held is not None and best is not None
    assert held[1] == 0 and best[1] == 5 and held[0] < best[0] - 0.2
    assert compare_at_zero_offset(make_expert(Mode.PAPER)) is None


def test_beginnings_are_of_the_clips_that_are_so_long(rows: list[MeasuredRow]) -> None:
    bench = ConsistencyBenchmark(make_engine(), [*rows, make_row(9, n_frames=60)], False, OPTIONS)
    begun = bench.measure_prefixes(3.0)
    assert [one.row.number for one in begun] == [0, 1, 2, 3] and {len(one.clip.mask) for one in begun} == {75}
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
