"""Scores of clips by networks that never saw their corpora, for a calibration of the network that was trained on all.

The clips are scored as the product scores them: as they were published, with the lateness that training cuts away.
"""

from collections.abc import Sequence
from pathlib import Path

from engine.calibration.trials import GatherOptions, Origin, ScoredTrials, join_trials
from engine.consistency.scorers import CompactEncoder, Expert
from engine.evaluation.calibration_trials import gather_consistency
from engine.evaluation.measurements import measure_rows
from engine.features.cache import ObservationCache
from engine.features.extractor import Observer
from engine.models.compact import CompactConsistency
from engine.pipeline import Engine
from engine.training.clips import TrainingClip, find_corpora, read_usable_rows, split_folds
from engine.training.consistency import TrainingOptions, Workshop, train_held_out
from engine.types import Model
from engine.weights.registry import hash_file

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
