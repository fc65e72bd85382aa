"""Scores of people by networks that never saw them, for a calibration of the network that was trained on all."""

from collections.abc import Sequence

import numpy as np

from engine.calibration.gathering import GatherOptions, Origin
from engine.calibration.people_trials import gather_people
from engine.calibration.records import Task
from engine.calibration.trials import ScoredTrials, join_trials
from engine.dynamics import Dynamics, Nature
from engine.evaluation.embeddings import EmbeddedRow, EmbeddedRows
from engine.manifest import Skipped
from engine.models.dvp import DVP
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
