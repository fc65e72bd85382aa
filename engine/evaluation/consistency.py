"""Measure how well scores discriminate real clips from others, and how often the AV offset is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.datasets.manifest import REAL
from engine.evaluation.bench import (
    ConsistencyBenchmark,
    EvaluationOptions,
    Sides,
    compare_at_zero_offset,
    measure_leading_silence,
    measure_sides,
)
from engine.evaluation.groups import JudgedRow, measure_groups
from engine.evaluation.measurements import MeasuredRow
from engine.evaluation.results import (
    ConsistencyResults,
    Depth,
    HasScore,
    OffsetError,
    OffsetResults,
    PooledScore,
    Trimmed,
    compare_methods,
    count_hits,
    count_planted,
    measure_discrimination,
)
from engine.evaluation.trials import TrialClip, plant_offsets
from engine.metrics import auc
from engine.pipeline import Engine
from engine.types import FPS

SWAPPED = "swapped voice"
"""Method name of trials with a real face and the voice of another real clip."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """Rows and the engine that scored them."""

    engine: Engine
    rows: Sequence[MeasuredRow]


def evaluate_consistency(
    rows: Sequence[MeasuredRow], has_others: bool, engine: Engine, options: EvaluationOptions
) -> ConsistencyResults:
    """Compare real clips with all others, or with swapped voices if the manifest has no others."""
    return evaluate_scored_rows([ScoredRows(engine, rows)], has_others, options)


def evaluate_scored_rows(
    judged: Sequence[ScoredRows], has_others: bool, options: EvaluationOptions
) -> ConsistencyResults:
    """Evaluate rows that several engines scored; voices are swapped among the rows of one engine."""
    benches = [ConsistencyBenchmark(one.engine, one.rows, has_others, options) for one in judged]
    rows = [row for one in judged for row in one.rows]
    pooled = pool_samples(rows)
    real, labelled = _split(pooled)
    swapped = [one for bench in benches for one in bench.swap()] if options.swap or not has_others else []
    methods: dict[str, list[HasScore]] = {SWAPPED: [*swapped]} if swapped else {}
    methods.update(_group_by_method(labelled))
    return ConsistencyResults(
        others="labelled" if has_others else SWAPPED,
        parting=measure_discrimination(real, labelled if has_others else swapped, options.seed),
        per_method=compare_methods(real, methods, options.seed),
        by_seconds={
            f"{length:g}": measure_sides((bench.score_windows(length) for bench in benches), options.seed)
            for length in options.seconds
        },
        control=measure_sides((bench.score_shuffled() for bench in benches), options.seed),
        trimmed=_evaluate_trimmed(benches, rows) if options.trim_silence else None,
        depth=_evaluate_in_depth(benches, {REAL: real, **methods}) if options.in_depth else None,
        groups=measure_groups(
            pooled,
            swapped,
            [JudgedRow(row, one.engine.calibration) for one in judged for row in one.rows],
            options.seed,
        ),
    )


def evaluate_offset(rows: Sequence[MeasuredRow], engine: Engine, options: EvaluationOptions) -> OffsetResults:
    """Compare offsets with `offset_s` of the manifest, or, without one, with offsets planted into the real clips."""
    known = [(one, one.row.offset_s) for one in rows if one.row.offset_s is not None]
    if known:
        errors = [OffsetError(abs(one.offset_s - offset_s) * FPS, one.row.person) for one, offset_s in known]
        return OffsetResults("offset_s", count_hits(errors, options.seed), None, {}, len(errors))
    return evaluate_planted([ScoredRows(engine, rows)], options.seed)


def evaluate_planted(judged: Sequence[ScoredRows], seed: int = 0) -> OffsetResults:
    """Plant offsets into the real clips and compare the estimates with them."""
    planted = [
        found
        for one in judged
        for found in plant_offsets(
            [row.clip for row in one.rows if row.row.is_real],
            one.engine.scorer.encode,
            compare=one.engine.scorer.compare,
        )
    ]
    shifts = sorted({one.planted for one in planted})
    return OffsetResults(
        truth="planted",
        hits=count_planted(planted, seed=seed),
        within_1_frame_own=count_planted(planted, relative_to_own=True, seed=seed),
        by_shift={f"{shift}": count_planted([one for one in planted if one.planted == shift]) for shift in shifts},
        n_clips=len({one.name for one in planted}),
    )


def pool_samples(rows: Sequence[MeasuredRow]) -> list[PooledScore]:
    """Average the scores of each sample, label and method; a row without a sample is one by itself."""
    pools: dict[tuple[str, str, str], list[MeasuredRow]] = {}
    for one in rows:
        sample = f"sample {one.row.sample}" if one.row.sample else f"row {one.row.number}"
        pools.setdefault((one.row.label, one.row.method, sample), []).append(one)
    return [
        PooledScore(
            score=float(np.mean([one.score for one in pool])),
            group=pool[0].row.person,
            method=method or label,
            is_real=pool[0].row.is_real,
            clip=pool[0].clip.name,
        )
        for (label, method, _), pool in pools.items()
    ]


def _group_by_method(labelled: Sequence[PooledScore]) -> dict[str, list[HasScore]]:
    methods: dict[str, list[HasScore]] = {}
    for one in labelled:
        methods.setdefault(one.method, []).append(one)
    return methods


def _evaluate_trimmed(benches: Sequence[ConsistencyBenchmark], rows: Sequence[MeasuredRow]) -> Trimmed:
    trimmed = [(bench, bench.measure_trimmed()) for bench in benches]
    left = [one for _, some in trimmed for one in some]
    has_others, seed = benches[0].has_others, benches[0].options.seed
    real, labelled = _split(pool_samples(left))
    swapped = [] if has_others else [one for bench, some in trimmed for one in bench.swap(_take_real(some))]
    methods: dict[str, list[HasScore]] = _group_by_method(labelled) if has_others else {SWAPPED: [*swapped]}
    silences = _measure_silences(rows)
    return Trimmed(
        parting=measure_discrimination(real, labelled if has_others else swapped, seed),
        per_method=compare_methods(real, methods, seed),
        silence_s={name: float(np.mean(lengths)) for name, lengths in silences.items()},
        by_silence_alone=_compare_silences(silences),
        n_too_short=len(rows) - len(left),
    )


def _evaluate_in_depth(benches: Sequence[ConsistencyBenchmark], scores: Mapping[str, Sequence[HasScore]]) -> Depth:
    """Collect the scores, and the results for prefixes, at offset 0 and for each ablation."""
    options = benches[0].options
    can_hold = all(compare_at_zero_offset(bench.engine.scorer) is not None for bench in benches)
    return Depth(
        scores={name: tuple(round(one.score, 4) for one in some) for name, some in scores.items()},
        by_first_s={
            f"{length:g}": measure_sides((bench.score_prefixes(length) for bench in benches), options.seed)
            for length in options.first_s
        },
        at_no_offset={
            f"{length:g}": measure_sides((_score_at_zero_offset(bench, length) for bench in benches), options.seed)
            for length in (options.seconds if can_hold else ())
        },
        ablations={
            str(kind): measure_sides((bench.score_ablated(kind) for bench in benches), options.seed)
            for kind in benches[0].list_ablations()
        },
    )


def _score_at_zero_offset(bench: ConsistencyBenchmark, length_s: float) -> Sides:
    return bench.score_windows(length_s, compare_at_zero_offset(bench.engine.scorer))


def _take_real(rows: Sequence[MeasuredRow]) -> list[TrialClip]:
    return [one.clip for one in rows if one.row.is_real]


def _split(pooled: Sequence[PooledScore]) -> tuple[list[PooledScore], list[PooledScore]]:
    return [one for one in pooled if one.is_real], [one for one in pooled if not one.is_real]


def _measure_silences(rows: Sequence[MeasuredRow]) -> dict[str, list[float]]:
    """Return the leading silence of each clip in seconds, by method; real clips come first."""
    found: dict[str, list[float]] = {}
    for one in sorted(rows, key=lambda one: not one.row.is_real):
        name = REAL if one.row.is_real else one.row.method or one.row.label
        found.setdefault(name, []).append(measure_leading_silence(one.clip))
    return found


def _compare_silences(silences: dict[str, list[float]]) -> float | None:
    """Return the AUC of others against real by the leading silence alone: 1 if it is longer in all others."""
    others = [length for name, lengths in silences.items() if name != REAL for length in lengths]
    return auc(others, silences[REAL]) if others and silences.get(REAL) else None
