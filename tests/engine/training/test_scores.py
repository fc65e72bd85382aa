"""Scores of the networks that were left out, from the command to a file that a calibration can be made from."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibration.records import Task
from engine.calibration.trials import read_trials
from engine.observation import Observation
from engine.training.scores import STAND_INS
from engine.weights import hash_file
from tests.engine.training import test_command
from tests.engine.training.planted import make_clip
from tests.engine.training.test_command import Bench, bench
from tests.fakes import make_mouth

__all__ = ["bench"]  # a fixture


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the mouths of the drawn clips be seen to move, so that the gates let them through."""
    observe = test_command.observe

    def observe_moving(*arguments: object) -> Observation:
        seen = observe(*arguments)  # type: ignore[arg-type]
        gap = make_mouth(seen.n_frames).astype(np.float32)
        return replace(seen, tracks=tuple(replace(track, gap=gap) for track in seen.tracks))

    monkeypatch.setattr(test_command, "observe", observe_moving)


@pytest.mark.usefixtures("moving")
def test_a_validation_keeps_the_scores_of_clips_by_networks_that_never_saw_them(bench: Bench) -> None:
    corpora = ("lab", "hall", "yard", "roof")
    clips = [make_clip(i, 200, corpora[i % 4]) for i in range(8)]
    result = bench.run([bench.add(clip) for clip in clips], "--validate", "--scores", str(bench.folder / "scores.json"))
    assert result.exit_code == 0, (result.output, result.exception)
    trials = read_trials(bench.folder / "scores.json")
    assert (trials.task, trials.recipe, trials.scored_by) == (Task.CONSISTENCY, "", STAND_INS)
    assert trials.manifest_sha256 == hash_file(bench.folder / "clips.csv")
    assert (trials.n_clips, trials.n_abstained) == (8, 0)
    assert set(trials.people[trials.same, 0]) == {clip.speaker for clip in clips}
    for corpus in corpora:  # of two folds, each of two corpora: nobody meets a voice of the other, which trained it
        mine = trials.sources[(trials.sources == corpus).any(axis=1)]
        assert len(np.unique(mine)) == 2
    assert set(trials.conditions) == {"whole", "4 s", "6 s"}
    assert np.exp(trials.qualities[:, 0]).min() >= 4 - 1e-9
