"""Scores of people by networks that never saw them, for a calibration of the network that was trained on all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.calibration.records import Task
from engine.calibration.trials import GatherOptions, Origin, ScoredTrials, join_trials, write_trials
from engine.datasets.manifest import Skipped
from engine.evaluation.speakers.calibration_trials import gather_people
from engine.evaluation.speakers.embeddings import EmbeddedRow, EmbeddedRows
from engine.models.dvp import DVP
from engine.style.embedder import Dynamics, Nature
from engine.training.dynamics_validation import Looks, tell_natures
from engine.training.speakers import SpokenClip

STYLE_STAND_INS = "networks of the same training, each of which never saw the people whom it embedded"


def embed_left_out(model: DVP, nature: Nature, clips: Sequence[SpokenClip]) -> EmbeddedRows:
    """Embed all windows of the untouched `clips` of people whom `model` never saw, as the product does."""
    dynamics, rows, skipped = Dynamics(model, "held-out", nature), [], []
    for clip in clips:
        if not clip.is_own_face:
            continue
        found = dynamics.embed_motion(clip.motion, clip.faces, np.ones(len(clip.motion), bool))
        if found is None:
            skipped.append(Skipped(clip.row.written, "its windows cancel out"))
        else:
            rows.append(EmbeddedRow(clip.row, clip.sha256, found))
    return EmbeddedRows(tuple(rows), tuple(skipped), "held-out", "held-out", nature)


def score_left_out(
    folds: Sequence[EmbeddedRows], task: Task, manifest_sha256: str, gather: GatherOptions | None = None
) -> ScoredTrials:
    """Make the trials of people by the networks trained without them: nobody meets those of another fold.

    They have no recipe: a calibration from them is for the network that they stand for. A search was made among the
    people of the smallest fold at least.
    """
    origin, options = Origin("", manifest_sha256, STYLE_STAND_INS), gather or GatherOptions()
    return join_trials([gather_people(own, [one.row for one in own.rows], task, origin, options) for own in folds])


def write_left_out(
    models: Sequence[DVP],
    looks: Sequence[Looks],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    manifest_sha256: str,
    folder: Path,
) -> None:
    """Hold the people of each fold against each other, by the network that never saw them."""
    rows = [
        embed_left_out(model, Nature(*natural.tolist()), [clip for clip in clips if clip.people <= own])
        for model, natural, own in zip(
            models, tell_natures(looks), folds, strict=False
        )  # not every fold may be measured
    ]
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        write_trials(score_left_out(rows, task, manifest_sha256), folder / f"{task}.json")
