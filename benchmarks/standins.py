"""Networks that stand in for the shipped one on clips that it was trained on: each never saw the corpora it judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.cache import ObservationCache
from engine.experts import CompactEncoder, Expert
from engine.manifest import Row, read_manifest
from engine.models.compact import CompactConsistency
from engine.observer import Observer
from engine.pipeline import Engine
from engine.settings import Settings
from engine.training.clips import choose_rows, find_corpora, split_folds
from engine.training.consistency import TrainingOptions, Workshop, align_clips, observe_clips, train_held_out


@dataclass(frozen=True, slots=True, eq=False)
class StandIns:
    """Who may judge which clip."""

    shipped: Engine  # whose calibration is in force, and which saw all corpora
    engines: dict[int, Engine]  # by fold left out
    fold_of: dict[str, int]  # by corpus
    corpora: dict[str, str]  # of real clips in sync, by the path as it is written

    def choose(self, row: Row) -> Engine:
        """Give the network that never saw the clip's corpus; for corpora of no training, that of the first fold."""
        fold = self.fold_of.get(self.corpora.get(row.written, row.source))
        return self.engines[fold] if fold in self.engines else next(iter(self.engines.values()))

    def judges(self, row: Row) -> bool:
        """Whether a real clip is of a corpus that some network never saw; any other clip is of none."""
        return not row.is_real or self.fold_of.get(self.corpora.get(row.written, "")) in self.engines


def load_stand_ins(manifest: Path, checkpoints: Path, cache: ObservationCache, observer: Observer) -> StandIns:
    """Train the networks of `wayspeak train consistency --validate`, or take them up from its checkpoints.

    They take the recipe of the network they stand for, so that its calibration, which was fitted on the scores of just
    such networks, is in force for them.
    """
    shipped, options = Engine.load(Settings.from_env()), TrainingOptions()
    shop = Workshop(checkpoints, workers=1)
    clips = align_clips(observe_clips(manifest, observer, cache, lambda done, total: None), options, shop)
    engines = {}
    for fold, trainees in train_held_out("held-out", clips, options, shop).items():
        net = CompactConsistency.of([trainee.member for trainee in trainees])
        expert = Expert(shipped.expert.model, CompactEncoder(net), shipped.expert.recipe)
        engines[fold] = Engine(observer, expert, shipped.recipe, shipped.options, calibration=shipped.calibration)
    rows = choose_rows(read_manifest(manifest))
    corpora = {row.written: corpus for row, corpus in zip(rows, find_corpora(rows), strict=True)}
    return StandIns(shipped, engines, split_folds(clips, options.n_folds), corpora)


def choose_one_each(rows: Sequence[Row], wanted: int) -> list[Row]:
    """Take one clip of each person, and of these so many, spread evenly."""
    first = list({row.person: row for row in reversed(rows)}.values())[::-1]
    step = max(1.0, len(first) / wanted)
    return [replace(first[int(i * step)]) for i in range(min(wanted, len(first)))]
