"""Scores of clips by networks that never saw their corpora, for a calibration of the network that was trained on all.

The clips are scored as the product scores them: as they were published, with the lateness that training cuts away.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.cache import ObservationCache
from engine.calibration.gathering import GatherOptions, Origin, gather_consistency, gather_people
from engine.calibration.records import Task
from engine.calibration.trials import ScoredTrials, join_trials
from engine.dynamics import Dynamics, Nature
from engine.evaluation.embeddings import EmbeddedRow, EmbeddedRows
from engine.evaluation.figures import Skipped
from engine.evaluation.measurements import measure_rows
from engine.experts import CompactEncoder, Expert
from engine.models.compact import CompactConsistency
from engine.models.dvp import DVP
from engine.observer import Observer
from engine.pipeline import Engine
from engine.training.clips import TrainingClip, find_corpora, read_usable_rows, split_folds
from engine.training.consistency import TrainingOptions, Workshop, train_held_out
from engine.training.speakers import SpokenClip
from engine.types import Model
from engine.weights import hash_file

STYLE_STAND_INS = "networks of the same training, each of which never saw the people whom it embedded"
STAND_INS = "networks of the same training, each of which never saw the corpora of the clips that it scored"


def score_held_out(
    manifest: Path,
    clips: Sequence[TrainingClip],
    options: TrainingOptions,
    shop: Workshop,
    observer: Observer,
    cache: ObservationCache,
    gather: GatherOptions | None = None,
) -> ScoredTrials:
    """Make the trials of each fold of aligned `clips` by the networks trained without it, which are taken up again.

    They have no recipe: a calibration from them is for the network that they stand for, whichever that is.
    """
    rows = read_usable_rows(manifest)
    corpora = {row.number: corpus for row, corpus in zip(rows, find_corpora(rows), strict=True)}
    fold_of, parts = split_folds(clips, options.n_folds), []
    origin = Origin("", hash_file(manifest), STAND_INS)
    for fold, trainees in train_held_out("held-out", clips, options, shop).items():
        net = CompactConsistency.of([trainee.member for trainee in trainees])
        engine = Engine(observer, Expert(Model.COMPACT, CompactEncoder(net), f"held-out-{fold}"), f"held-out-{fold}")
        own = [row for row in rows if fold_of.get(corpora[row.number]) == fold]
        found = measure_rows(own, engine, cache)
        parts.append(gather_consistency(found, engine.expert, corpora, origin, gather or GatherOptions()))
    return join_trials(parts)


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

    They have no recipe, as above; a search was made among the people of the smallest fold at least.
    """
    origin, options = Origin("", manifest_sha256, STYLE_STAND_INS), gather or GatherOptions()
    return join_trials([gather_people(own, [one.row for one in own.rows], task, origin, options) for own in folds])
