"""Summarise the scores of a manifest before a calibration is fitted, and thresholds for target error rates.

The results are computed by the code of `wayspeak evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.calibration.trials import ScoredTrials
from engine.calibration.validation import HeldOutRatios, choose_threshold
from engine.datasets.manifest import Skipped
from engine.evaluation.bench import EvaluationOptions
from engine.evaluation.consistency import SWAPPED, evaluate_consistency, pool_samples
from engine.evaluation.measurements import MeasuredRow, Measurements
from engine.evaluation.results import Discrimination, measure_discrimination
from engine.evaluation.trials import Trial, score_other_voices
from engine.metrics import ErrorCurve, WeightedScores
from engine.pipeline import Engine
from engine.types import FPS

REAL = "real"
SAME, DIFFERENT = "same", "different"
UNKNOWN = "not told"
SHORTEST_S = 4.0
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """Raw scores and discrimination; higher scores are more consistent or more similar."""

    scores: Mapping[str, np.ndarray]  # (n,) by method; first real clips, or same speakers
    lengths: Mapping[str, Discrimination]  # by seconds of whole clips or samples
    windows: Mapping[str, Discrimination]  # by seconds of windows; empty for speakers
    languages: Mapping[str, Discrimination]  # empty for speakers
    skipped: tuple[Skipped, ...] = ()

    def trace_errors(self) -> dict[str, ErrorCurve]:
        """Return both error rates at every threshold, of the first kind of scores against each other kind."""
        names = list(self.scores)
        curves = {name: _trace(self.scores[names[0]], self.scores[name]) for name in names[1:]}
        return {name: curve for name, curve in curves.items() if curve is not None}


@dataclass(frozen=True, slots=True)
class Threshold:
    """Threshold above which at most a share `rate` of the held-out trials of the second hypothesis lies."""

    rate: float
    llr: float  # infinite: too few trials for so small a rate
    supported: float  # share of the trials of the first hypothesis at or above it


def summarise_clips(found: Measurements, engine: Engine, options: EvaluationOptions | None = None) -> Overview:
    """Compare real clips with forged ones, or swapped voices without any, by method, length, window and language.

    Lengths are classes of the length of the face track; the language is that of the face.
    """
    options = options or EvaluationOptions()
    figures = evaluate_consistency(found.measured, found.has_others, engine, options)
    pooled = pool_samples(found.measured)
    real = [one for one in found.measured if one.row.is_real]
    swapped = score_other_voices(
        [one.clip for one in real], engine.scorer.compare, options.voices_per_face, options.seed
    )
    scores = {REAL: np.array([one.score for one in pooled if one.is_real])}
    for method in sorted({one.method for one in pooled if not one.is_real}):
        scores[method] = np.array([one.score for one in pooled if one.method == method and not one.is_real])
    scores[SWAPPED] = np.array([one.score for one in swapped])
    return Overview(
        scores={name: values for name, values in scores.items() if len(values)},
        lengths=_by_class({one.row.written: _name_length(one) for one in real}, real, swapped, options.seed),
        windows=figures.by_seconds,
        languages=_by_class(
            {one.row.written: one.row.language or UNKNOWN for one in real}, real, swapped, options.seed
        ),
        skipped=found.skipped,
    )


def summarise_trials(trials: ScoredTrials, seed: int = 0) -> Overview:
    """Compare trials of the first hypothesis with those of the second, by condition."""
    rows = [_Row(float(score), str(people[0])) for score, people in zip(trials.scores, trials.people, strict=True)]
    lengths = {}
    for name in dict.fromkeys(map(str, trials.conditions)):
        there = trials.conditions == name
        same, different = ([rows[i] for i in np.flatnonzero(there & kind)] for kind in (trials.same, ~trials.same))
        lengths[name] = measure_discrimination(same, different, seed)
    scores = {SAME: trials.scores[trials.same], DIFFERENT: trials.scores[~trials.same]}
    return Overview(scores=scores, lengths=lengths, windows={}, languages={})


def list_thresholds(held: HeldOutRatios, rates: Sequence[float] = RATES) -> list[Threshold]:
    """Return the threshold for each target error rate, from log10 LRs of calibrations that did not see the trials."""
    same = held.trials.same
    lines = [choose_threshold(held.llrs[~same], rate) for rate in rates]
    return [
        Threshold(rate, line, float((held.llrs[same] >= line).mean())) for rate, line in zip(rates, lines, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    """A score and its bootstrap group."""

    score: float
    group: str


def _by_class(
    classes: Mapping[str, str], real: Sequence[MeasuredRow], swapped: Sequence[Trial], seed: int
) -> dict[str, Discrimination]:
    """Compare own with swapped voices among the faces of each class; `classes` maps clip names to classes."""
    return {
        name: measure_discrimination(
            [_Row(one.score, one.row.person) for one in real if classes[one.row.written] == name],
            [one for one in swapped if classes[one.face] == name],
            seed,
        )
        for name in dict.fromkeys(classes[key] for key in sorted(classes, key=lambda key: _order(classes[key])))
    }


def _name_length(one: MeasuredRow) -> str:
    """Return the length class of a face track, named by its upper bound: up to 4 s, 4 to 8 s, 8 to 16 s and so on."""
    seconds = len(one.clip) / FPS
    return f"{SHORTEST_S * 2 ** max(0, int(np.ceil(np.log2(seconds / SHORTEST_S)))):g}"


def _order(name: str) -> tuple[float, str]:
    """Sort lengths by value, then names."""
    return (float(name), "") if name.isdigit() else (np.inf, name)


def _trace(first: np.ndarray, other: np.ndarray) -> ErrorCurve | None:
    scores = np.concatenate([first, other])
    return WeightedScores(scores, np.arange(len(scores)) < len(first)).trace()
