"""Scores of the networks that were left out, from the command to a file that a calibration can be made from."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibration.builder import DraftOptions, draft
from engine.calibration.records import Task
from engine.calibration.trials import TrialOptions, read_trials
from engine.features.records import ClipFeatures
from engine.training.consistency.train import SCORED_BY, halve_clips, keep_people
from engine.training.style.validation import EMBEDDED_BY, score_held_out
from engine.weights.registry import hash_file
from tests.engine.evaluation.speakers.people import draw_people, gather
from tests.engine.training.planted import make_clip
from tests.fakes import make_mouth
from tests.webapp.cli import test_train_consistency
from tests.webapp.cli.test_train_consistency import Bench, bench

__all__ = ["bench"]  # a fixture


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the mouths of the drawn clips be seen to move, so that the gates let them through."""
    make_features = test_train_consistency.make_features

    def make_moving_features(*arguments: object) -> ClipFeatures:
        seen = make_features(*arguments)  # type: ignore[arg-type]
        gap = make_mouth(seen.n_frames).astype(np.float32)
        return replace(seen, tracks=tuple(replace(track, gap=gap) for track in seen.tracks))

    monkeypatch.setattr(test_train_consistency, "make_features", make_moving_features)


@pytest.mark.usefixtures("moving")
def test_a_validation_keeps_the_scores_of_clips_by_networks_that_never_saw_them(bench: Bench) -> None:
    corpora = ("lab", "hall", "yard", "roof")
    clips = [make_clip(i, 200, corpora[i % 4]) for i in range(8)]
    result = bench.run([bench.add(clip) for clip in clips], "--validate", "--scores", str(bench.folder / "scores.json"))
    assert result.exit_code == 0, (result.output, result.exception)
    trials = read_trials(bench.folder / "scores.json")
    assert (trials.task, trials.recipe, trials.scored_by) == (Task.CONSISTENCY, "", SCORED_BY)
    assert trials.manifest_sha256 == hash_file(bench.folder / "clips.csv")
    assert (trials.n_clips, trials.n_abstained) == (8, 0)
    assert set(trials.people[trials.same, 0]) == {clip.speaker for clip in clips}
    for corpus in corpora:  # two folds of two corpora: no clip is compared with a voice of its training fold
        mine = trials.sources[(trials.sources == corpus).any(axis=1)]
        assert len(np.unique(mine)) == 2
    assert set(trials.conditions) == {"whole", "1.5 s", "2 s", "3 s", "4 s", "6 s"}  # of clips of 8 s
    assert trials.speech_s is not None and trials.speech_s.min() >= 1.5


@pytest.mark.parametrize("task", [Task.VERIFICATION, Task.IDENTIFICATION])
def test_speakers_are_compared_within_fold_and_can_be_calibrated(task: Task) -> None:
    folds = []
    for fold, n_people in enumerate((5, 6, 5)):
        drawn = draw_people(n_people, 3, per_session=2, noise=1.5, seed=fold)
        named = [replace(one, row=replace(one.row, speaker=f"{fold} {one.row.speaker}")) for one in drawn]
        folds.append(gather(*named))
    trials = score_held_out(folds, task, "ab" * 32, TrialOptions(pools_s=(1.0, 2.0)))
    assert (trials.recipe, trials.scored_by, trials.n_clips) == ("", EMBEDDED_BY, 16 * 6)
    assert trials.gallery_size == (4 if task == Task.IDENTIFICATION else 0)
    assert all(one.split()[0] == other.split()[0] for one, other in trials.people)
    assert len({one.split()[0] for one in trials.people[:, 0]}) == 3
    record = draft(replace(trials, recipe="r"), DraftOptions("Ada", resamples=20)).record
    assert record.counts.people == 16 and {one.name: one.value for one in record.metrics}["cllr"] < 0.9


def test_a_learning_curve_keeps_whole_people_or_half_of_each_clip() -> None:
    clips = [replace(make_clip(i, 200), speaker=f"person {i % 5}") for i in range(10)]
    kept = keep_people(clips, 0.5)
    assert len({clip.speaker for clip in kept}) == 3 and len(kept) == 6
    assert keep_people(clips, 1.0) == tuple(clips)
    short, long = halve_clips([make_clip(0, 40), make_clip(1, 201)])
    assert (len(short.real), len(long.real)) == (28, 100)
    assert long.lips.shape[0] == 100 and long.mel.shape[0] == 400
