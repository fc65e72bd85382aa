"""Networks of held-out folds, which replace the shipped network on clips of its training data."""

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
    """Engines by held-out fold, and the fold of each source."""

    shipped: Engine  # trained on all corpora; provides the calibration
    engines: dict[int, Engine]  # by held-out fold
    fold_of: dict[str, int]  # by source

    def covers(self, row: Row) -> bool:
        """Return whether a network was not trained on the source of a clip."""
        return self.fold_of.get(row.source, next(iter(self.engines))) in self.engines

    def choose(self, row: Row) -> Engine:
        """Return the engine not trained on the source of the clip."""
        return self.engines[self.find_fold(row)]

    def find_fold(self, row: Row) -> int:
        """Return the fold that the source of the clip is held out in; clips of other sources are distributed evenly."""
        folds = sorted(self.engines)
        return self.fold_of.get(row.source, folds[row.number % len(folds)])

    def group(self, rows: Sequence[MeasuredRow]) -> list[ScoredRows]:
        """Group measured rows by engine."""
        return [
            ScoredRows(engine, own)
            for engine in self.engines.values()
            if (own := [one for one in rows if self.choose(one.row) is engine])
        ]


def load_stand_ins(rows: Sequence[Row], run: Path, extractor: FeatureExtractor) -> StandIns:
    """Load the output of `wayspeak train consistency MANIFEST --validate --out RUN`; raises EngineError.

    The networks get the recipe of the shipped one, so that its calibration applies, which was fitted to scores of such
    networks.
    """
    shipped, record = Engine.load(Settings.from_env()), run / "held-out.json"
    if not record.is_file():
        raise EngineError(
            f"{record} does not exist.", "Run `wayspeak train consistency MANIFEST --validate --out RUN`."
        )
    fold_of = {corpus: int(fold) for fold, corpora in json.loads(record.read_text()).items() for corpus in corpora}
    engines = {}
    for fold in sorted(set(fold_of.values())):
        members = sorted((run / "checkpoints").glob(f"held-out-{fold}-[0-9].checkpoint"))
        if members:  # none if no clip of the fold is long enough
            net = CompactConsistency.of([_load(path).member for path in members])
            scorer = ConsistencyScorer(shipped.scorer.model, net, shipped.scorer.recipe)
            engines[fold] = Engine(extractor, scorer, shipped.recipe, shipped.options, calibration=shipped.calibration)
    if not engines:
        raise EngineError(f"{run} has no checkpoints of held-out folds.", "Train with --validate.")
    trained = choose_rows(rows)
    corpora = {row.source: corpus for row, corpus in zip(trained, find_corpora(trained), strict=True)}
    known = {source: fold_of[corpus] for source, corpus in corpora.items() if corpus in fold_of}
    return StandIns(shipped, engines, known)


def choose_one_each(rows: Sequence[Row], wanted: int) -> list[Row]:
    """Select one clip per person, then `wanted` of them, spread evenly."""
    first = list({row.person: row for row in reversed(rows)}.values())[::-1]
    step = max(1.0, len(first) / wanted)
    return [first[int(i * step)] for i in range(min(wanted, len(first)))]


def _load(checkpoint: Path) -> MemberState:
    state = MemberState(MemberOptions())
    state.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["trainee"])
    return state.eval()
