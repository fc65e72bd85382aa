"""What a manifest's scores look like before anything is fitted to them, and where a wished error rate would put a line.

The figures are those of `wayspeak evaluate`, by the same code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.calibration.trials import ScoredTrials
from engine.calibration.validation import HeldOutRatios, choose_threshold
from engine.datasets.manifest import Skipped
from engine.evaluation.consistency import SWAPPED, EvaluationOptions, evaluate_consistency, pool_samples
from engine.evaluation.measurements import MeasuredRow, Measurements
from engine.evaluation.results import Discrimination, part
from engine.evaluation.trials import Trial, try_other_voices
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
    """Scores as they are; higher is more consistent, or more alike."""

    scores: Mapping[str, np.ndarray]  # (n,) by method; the first is of real clips, or of same people
    lengths: Mapping[str, Discrimination]  # by seconds of a whole clip or sample
    windows: Mapping[str, Discrimination]  # by seconds of the windows that clips are cut into; empty for people
    languages: Mapping[str, Discrimination]  # empty for people
    skipped: tuple[Skipped, ...] = ()

    def trace_errors(self) -> dict[str, ErrorCurve]:
        """Both errors at every threshold, of the first kind of scores against each of the others that is there."""
        names = list(self.scores)
        curves = {name: _trace(self.scores[names[0]], self.scores[name]) for name in names[1:]}
        return {name: curve for name, curve in curves.items() if curve is not None}


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a line must lie so that of held-out trials of the second hypothesis at most a share lies above it."""

    rate: float
    llr: float  # infinite: there are too few trials for so small a rate
    supported: float  # share of the trials of the first hypothesis that reach it


def look_over_clips(found: Measurements, engine: Engine, options: EvaluationOptions | None = None) -> Overview:
    """Hold real clips against forged ones by method, length, window and language; without any, against swapped voices.

    Lengths are those of the clips' faces, in classes; a language is that of the face.
    """
    options = options or EvaluationOptions()
    figures = evaluate_consistency(found.measured, found.has_others, engine, options)
    pooled = pool_samples(found.measured)
    real = [one for one in found.measured if one.row.is_real]
    swapped = try_other_voices([one.clip for one in real], engine.expert.compare, options.voices_per_face, options.seed)
    scores = {REAL: np.array([one.score for one in pooled if one.is_real])}
    for method in sorted({one.method for one in pooled if not one.is_real}):
        scores[method] = np.array([one.score for one in pooled if one.method == method and not one.is_real])
    scores[SWAPPED] = np.array([one.score for one in swapped])
    return Overview(
        scores={name: values for name, values in scores.items() if len(values)},
        lengths=_part_by({one.row.written: _name_length(one) for one in real}, real, swapped, options.seed),
        windows=figures.by_seconds,
        languages=_part_by({one.row.written: one.row.language or UNKNOWN for one in real}, real, swapped, options.seed),
        skipped=found.skipped,
    )


def look_over_trials(trials: ScoredTrials, seed: int = 0) -> Overview:
    """Hold trials of the first hypothesis against those of the second, by their condition."""
    rows = [_Row(float(score), str(people[0])) for score, people in zip(trials.scores, trials.people, strict=True)]
    lengths = {}
    for name in dict.fromkeys(map(str, trials.conditions)):
        there = trials.conditions == name
        same, different = ([rows[i] for i in np.flatnonzero(there & kind)] for kind in (trials.same, ~trials.same))
        lengths[name] = part(same, different, seed)
    scores = {SAME: trials.scores[trials.same], DIFFERENT: trials.scores[~trials.same]}
    return Overview(scores=scores, lengths=lengths, windows={}, languages={})


def list_thresholds(held: HeldOutRatios, rates: Sequence[float] = RATES) -> list[Threshold]:
    """Give a line for each wished rate, by the log10 LR that calibrations told which did not see the trials."""
    same = held.trials.same
    lines = [choose_threshold(held.llrs[~same], rate) for rate in rates]
    return [
        Threshold(rate, line, float((held.llrs[same] >= line).mean())) for rate, line in zip(rates, lines, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    """A score, and whose it is."""

    score: float
    group: str


def _part_by(
    classes: Mapping[str, str], real: Sequence[MeasuredRow], swapped: Sequence[Trial], seed: int
) -> dict[str, Discrimination]:
    """Hold own voices against others' among the faces of each class; `classes` are by the name of the face's clip."""
    return {
        name: part(
            [_Row(one.score, one.row.person) for one in real if classes[one.row.written] == name],
            [one for one in swapped if classes[one.face] == name],
            seed,
        )
        for name in dict.fromkeys(classes[key] for key in sorted(classes, key=lambda key: _order(classes[key])))
    }


def _name_length(one: MeasuredRow) -> str:
    """The class of a face's length, which double: up to 4 s, 4 to 8, 8 to 16 and so on; named by its longest."""
    seconds = len(one.clip.mask) / FPS
    return f"{SHORTEST_S * 2 ** max(0, int(np.ceil(np.log2(seconds / SHORTEST_S)))):g}"


def _order(name: str) -> tuple[float, str]:
    """Lengths by their number, words after them."""
    return (float(name), "") if name.isdigit() else (np.inf, name)


def _trace(first: np.ndarray, other: np.ndarray) -> ErrorCurve | None:
    scores = np.concatenate([first, other])
    return WeightedScores(scores, np.arange(len(scores)) < len(first)).trace()
