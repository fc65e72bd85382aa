"""Synthetic trials of people and sources with known or nearly known likelihood ratios."""

from dataclasses import replace

import numpy as np

from engine.calibration.builder import DraftOptions, draft
from engine.calibration.qualities import SPEECH
from engine.calibration.records import Calibration, Task
from engine.calibration.trials import ScoredTrials

RECIPE = "drawn-0123"
MANIFEST = "ab" * 32
CREATED = "2026-01-02T03:04:05+00:00"


def draw_trials(
    n_sources: int = 12, per_source: int = 3, gap: float = 3.0, seed: int = 0, per_face: int = 10, growth: float = 0.0
) -> ScoredTrials:
    """Normal scores of deviation 1, `gap` apart, and `growth` further for each unit of the quality."""
    rng = np.random.default_rng(seed)
    people = [(f"s{source}", f"s{source}p{one}") for source in range(n_sources) for one in range(per_source)]
    rows: list[tuple[float, bool, tuple[str, str], tuple[str, str], float]] = []
    for source, person in people:
        for other_source, other in [(source, person)] * 2 + [
            people[k] for k in rng.permutation(len(people))[:per_face]
        ]:
            same, quality = other == person, float(np.log(rng.uniform(4, 15)))
            mean = gap + growth * (quality - 2) if same else 0.0
            rows.append((rng.normal(mean), same, (person, other), (source, other_source), quality))
    return ScoredTrials(
        task=Task.CONSISTENCY,
        recipe=RECIPE,
        scored_by="a pencil",
        manifest_sha256=MANIFEST,
        scores=np.array([row[0] for row in rows]),
        same=np.array([row[1] for row in rows]),
        people=np.array([row[2] for row in rows]),
        sources=np.array([row[3] for row in rows]),
        conditions=np.array(["4 s" if row[4] < np.log(8) else "whole" for row in rows]),
        quality_names=(SPEECH,),
        qualities=np.array([[row[4]] for row in rows]),
        n_clips=72,
        n_abstained=3,
    )


def draw_search(seed: int = 0) -> ScoredTrials:
    """The same as trials of a search among 35 people."""
    found = draw_trials(seed=seed)
    return replace(
        found,
        task=Task.IDENTIFICATION,
        quality_names=("log probe seconds", "log enrolled seconds"),
        qualities=np.column_stack([found.qualities, found.qualities[::-1]]),
        gallery_size=35,
    )


def make_record(trials: ScoredTrials | None = None, **options: object) -> Calibration:
    """A draft by Ada, quickly."""
    plain = {"author": "Ada", "created": CREATED, "resamples": 20, "false_against": 0.05} | options
    return draft(trials or draw_trials(), DraftOptions(**plain)).record  # type: ignore[arg-type]
