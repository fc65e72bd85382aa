"""Cross-validate a calibration: metrics of trials with held-out sources, with bootstrap intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from engine.calibration.fitting import fit
from engine.calibration.records import ALL, CalibratorKind, Metric, Policy, Task
from engine.calibration.trials import ScoredTrials
from engine.errors import Code
from engine.metrics import WeightedScores, act_dcf, bootstrap_rows, cllr, cllr_min, share_from

MAX_FOLDS = 10
MIN_SOURCES = 4  # with fewer, people are held out
RESAMPLES = 1000
FPIRS = (0.01, 0.1)
TARGETS = (0.05, 0.01)
SHARES = ("same_", "different_")  # metrics that are shares of the trials of one hypothesis
FITTED = ("cllr_min", "cllr_cal")
"""Metrics of a fit to the evaluated trials themselves, biased further in resamples: the basic bootstrap, which mirrors
the interval about the value, corrects for that."""
RULE_OF_3 = 3.0  # none in n trials: rate below 3 / n at 95 %

MetricValues = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRatios:
    """Trials with the log10 LR of calibrations fitted without their sources."""

    trials: ScoredTrials
    llrs: np.ndarray  # (N,)
    over: str  # held-out units: sources or people


def cross_validate(
    trials: ScoredTrials, kind: CalibratorKind, seed: int = 0, qualities: tuple[str, ...] | None = None
) -> HeldOutRatios:
    """Fit without each fold of sources, and each pair of folds, in turn; apply to the trials within them.

    The fit for a trial with two sources uses only trials outside both folds, so that every trial is scored once, by a
    fit without its sources. BAD_SCORES where too few trials remain.
    """
    apart = not np.array_equal(trials.sources, trials.people) and len(np.unique(trials.sources)) >= MIN_SOURCES
    over = "sources" if apart else "people"
    folds = _assign_folds(trials.sources if over == "sources" else trials.people, trials.same, seed)
    llrs = np.full(len(trials), nan)
    for one, other in _pairs(int(folds.max()) + 1):
        inside = np.flatnonzero((folds.min(axis=1) == one) & (folds.max(axis=1) == other))
        if len(inside):
            outside = np.flatnonzero(~np.isin(folds, (one, other)).any(axis=1))
            llrs[inside] = fit(trials.take(outside), kind, qualities).llrs(trials.take(inside))
    return HeldOutRatios(trials, llrs, over)


def measure(held: HeldOutRatios, policy: Policy, seed: int = 0, n: int = RESAMPLES) -> tuple[Metric, ...]:
    """Compute every metric of all trials and of each condition, with intervals from `n` bootstrap resamples."""
    names = [ALL, *sorted(set(held.trials.conditions), key=_order)]
    if len(names) == 2:
        names = [ALL]
    found: list[Metric] = []
    for name in names:
        rows = np.flatnonzero((held.trials.conditions == name) | np.bool_(name == ALL))
        found += _measure_condition(name, _ConditionTrials(held.trials.take(rows), held.llrs[rows], policy), seed, n)
    return tuple(found)


def choose_threshold(llrs: Sequence[float] | np.ndarray, rate: float) -> float:
    """Return the least log10 LR that at most a share `rate` of these reach, counting one more that does."""
    ranked = np.sort(np.asarray(llrs, np.float64))[::-1]
    allowed = int(np.floor(rate * (len(ranked) + 1) + 1e-9)) - 1  # number allowed at or above the threshold
    if allowed < 0:
        return float(np.inf)
    return float(np.nextafter(ranked[allowed], np.inf)) if allowed < len(ranked) else float(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class _ConditionTrials:
    """Trials of one condition and their log10 LRs."""

    trials: ScoredTrials
    llrs: np.ndarray  # (N,)
    policy: Policy

    def metrics(self, weights: np.ndarray | None = None) -> MetricValues:
        """Compute every metric; NaN where the weights leave a hypothesis without trials."""
        llrs, same = self.llrs, self.trials.same
        curve = WeightedScores(llrs, same).trace(weights)
        whole, least = cllr(llrs, same, weights), cllr_min(llrs, same, weights)
        found = {"cllr": whole, "cllr_min": least, "cllr_cal": whole - least}
        found["eer"] = nan if curve is None else curve.eer()
        for target in TARGETS:
            found[f"min_dcf_{target:g}"] = nan if curve is None else curve.min_dcf(target)
            found[f"act_dcf_{target:g}"] = act_dcf(llrs, same, target, weights)
        for k in (10, 100):
            found[f"different_lr_from_{k}"] = share_from(llrs, ~same, np.log10(k), weights)
            found[f"same_lr_to_1/{k}"] = share_from(-llrs, same, np.log10(k), weights)
        for name, kind in (("same", same), ("different", ~same)):
            supported = share_from(llrs, kind, self.policy.supported_llr, weights)
            against = share_from(-llrs, kind, -self.policy.against_llr, weights)
            found |= {f"{name}_supported": supported, f"{name}_against": against}
            found[f"{name}_inconclusive"] = max(0.0, 1 - supported - against)
        if self.trials.task == Task.IDENTIFICATION:
            found |= {f"fnir_at_fpir_{fpir:g}": nan if curve is None else curve.fnir(fpir) for fpir in FPIRS}
        return found


def _measure_condition(name: str, condition_trials: _ConditionTrials, seed: int, n: int) -> Iterator[Metric]:
    same = condition_trials.trials.same
    if same.all() or not same.any():
        return
    spreads = [(over, _spread(sides, condition_trials, seed, n)) for over, sides in _sides(condition_trials.trials)]
    n_same = int(same.sum())
    for metric, value in condition_trials.metrics().items():
        intervals = [(*spread[metric], over) for over, spread in spreads if spread is not None]
        low, high, over = max(intervals, key=lambda one: one[1] - one[0], default=(None, None, ""))
        if low is not None and high is not None and metric in FITTED:
            low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
        elif low is not None and high is not None and metric.startswith(SHARES):
            kind = same if metric.startswith("same") else ~same
            low, high = _widen(value, low, high, len(np.unique(condition_trials.trials.people[kind, 0])))
        yield Metric(metric, name, value, low, high, over, n_same, len(same) - n_same)


def _widen(value: float, low: float, high: float, n_people: int) -> tuple[float, float]:
    """Widen the interval of a share of 0 or 1, which resampling cannot estimate, by the rule of three over people."""
    reach = min(1.0, RULE_OF_3 / n_people)
    if value == 0:
        return low, max(high, reach)
    return (min(low, 1 - reach), high) if value == 1 else (low, high)


def _sides(trials: ScoredTrials) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the units to resample: people, and sources where they differ; the wider interval is reported."""
    yield "people", trials.people
    if not np.array_equal(trials.sources, trials.people):
        yield "sources", trials.sources


def _spread(
    sides: np.ndarray, condition_trials: _ConditionTrials, seed: int, n: int
) -> dict[str, tuple[float, float]] | None:
    """Bootstrap intervals over people or sources; a trial of two units counts as the product of their counts.

    None for a single unit, or too few for a resample.
    """
    names, places = np.unique(sides, return_inverse=True)
    one, other = places.reshape(sides.shape).T
    metric_names = list(condition_trials.metrics())

    def measure_drawn(rows: np.ndarray) -> list[float]:
        drawn = np.bincount(rows, minlength=len(names))
        found = condition_trials.metrics(drawn[one] * np.where(one == other, 1, drawn[other]))
        return [found[name] for name in metric_names]

    try:
        return dict(zip(metric_names, bootstrap_rows(measure_drawn, names.tolist(), n, seed), strict=True))
    except ValueError:
        return None


def _assign_folds(units: np.ndarray, same: np.ndarray, seed: int) -> np.ndarray:
    """(N, 2) fold of each side: units in decreasing order of same-source trials, each to the least loaded fold.

    Ties are ordered by the seed. BAD_SCORES for too few units.
    """
    names, places = np.unique(units, return_inverse=True)
    places = places.reshape(units.shape)
    if len(names) < MIN_SOURCES:
        raise Code.BAD_SCORES(
            f"The trials have {len(names)} people; at least {MIN_SOURCES} are required to hold some out.",
            "Add clips of other people.",
        )
    own = np.bincount(places[same].ravel(), minlength=len(names))
    order = np.lexsort([np.random.default_rng(seed).permutation(len(names)), -own])
    n_folds = min(MAX_FOLDS, len(names))
    fold, load = np.zeros(len(names), int), np.zeros(n_folds)
    for name in order:
        fold[name] = int(np.argmin(load))
        load[fold[name]] += own[name] + 1e-3  # spreads units without such trials too
    return fold[places]


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((one, other) for one in range(n) for other in range(one, n))


def _order(name: str) -> tuple[float, str]:
    """Sort key of conditions: those with a number, such as `4 s`, by it, then the others."""
    head = name.split()[0] if name.split() else ""
    return (float(head) if head.replace(".", "", 1).isdigit() else np.inf, name)
