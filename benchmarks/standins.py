"""Networks that stand in for the shipped one on clips that it was trained on: each never saw the corpora it judges."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.consistency.scorers import ConsistencyScorer
from engine.datasets.manifest import Row, find_corpora
from engine.errors import EngineError
from engine.evaluation.consistency import ScoredRows
from engine.evaluation.measurements import MeasuredRow
from engine.features.extractor import FeatureExtractor
from engine.models.compact import CompactConsistency
from engine.pipeline import Engine
from engine.settings import Settings
from engine.training.clips import choose_rows
from engine.training.consistency.ensemble import MemberOptions, MemberState


@dataclass(frozen=True, slots=True, eq=False)
class StandIns:
    """Who may judge which clip."""

    shipped: Engine  # whose calibration is in force, and which saw all corpora
    engines: dict[int, Engine]  # by fold left out
    fold_of: dict[str, int]  # by source

    def judges(self, row: Row) -> bool:
        """Whether some network never saw a clip's source; one of no training was seen by none."""
        return self.fold_of.get(row.source, next(iter(self.engines))) in self.engines

    def choose(self, row: Row) -> Engine:
        """Give the network that never saw the clip's source; clips of no training are dealt out in turn."""
        folds = sorted(self.engines)
        return self.engines[self.fold_of.get(row.source, folds[row.number % len(folds)])]

    def deal(self, rows: Sequence[MeasuredRow]) -> list[ScoredRows]:
        """Put measured rows to who judged them."""
        return [
            ScoredRows(engine, own)
            for engine in self.engines.values()
            if (own := [one for one in rows if self.choose(one.row) is engine])
        ]


def load_stand_ins(rows: Sequence[Row], run: Path, extractor: FeatureExtractor) -> StandIns:
    """Take up what `wayspeak train consistency MANIFEST --validate --out RUN` left: networks, and what each never saw.

    They take the recipe of the network they stand for, so that its calibration, which was fitted on the scores of just
    such networks, is in force for them.
    """
    shipped, record = Engine.load(Settings.from_env()), run / "held-out.json"
    if not record.is_file():
        raise EngineError(f"{record} is not there.", "Run `wayspeak train consistency MANIFEST --validate --out RUN`.")
    fold_of = {corpus: int(fold) for fold, corpora in json.loads(record.read_text()).items() for corpus in corpora}
    engines = {}
    for fold in sorted(set(fold_of.values())):
        members = sorted((run / "checkpoints").glob(f"held-out-{fold}-[0-9].checkpoint"))
        if members:  # none where no clip of the fold is long enough to be judged
            net = CompactConsistency.of([_load(path).member for path in members])
            expert = ConsistencyScorer(shipped.expert.model, net, shipped.expert.recipe)
            engines[fold] = Engine(extractor, expert, shipped.recipe, shipped.options, calibration=shipped.calibration)
    if not engines:
        raise EngineError(f"{run} has no checkpoints of networks with a fold left out.", "Train with --validate.")
    taught = choose_rows(rows)
    corpora = {row.source: corpus for row, corpus in zip(taught, find_corpora(taught), strict=True)}
    known = {source: fold_of[corpus] for source, corpus in corpora.items() if corpus in fold_of}
    return StandIns(shipped, engines, known)


def choose_one_each(rows: Sequence[Row], wanted: int) -> list[Row]:
    """Take one clip of each person, and of these so many, spread evenly."""
    first = list({row.person: row for row in reversed(rows)}.values())[::-1]
    step = max(1.0, len(first) / wanted)
    return [first[int(i * step)] for i in range(min(wanted, len(first)))]


def _load(checkpoint: Path) -> MemberState:
    trainee = MemberState(MemberOptions())
    trainee.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["trainee"])
    return trainee.eval()
