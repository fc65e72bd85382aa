"""What a calibration is worth: figures of trials whose sources had no part in fitting, with intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from engine.calibration.fitting import fit
from engine.calibration.records import CalibratorKind, Metric, Policy, Task
from engine.calibration.trials import ScoredTrials
from engine.errors import Code
from engine.metrics import WeightedScores, act_dcf, bootstrap_rows, cllr, cllr_min, share_from

MAX_FOLDS = 10
MIN_SOURCES = 4  # below it people are held out instead
RESAMPLES = 1000
ALL = "all"
FPIRS = (0.01, 0.1)
TARGETS = (0.05, 0.01)
SHARES = ("same_", "different_")  # figures that are shares of the trials of one hypothesis
FITTED = ("cllr_min", "cllr_cal")
"""Figures of a fit to the very trials that they are of, which fits resamples better still: their intervals are turned
about the value (the basic bootstrap), which takes that off."""
RULE_OF_3 = 3.0  # nothing in n trials: below 3 / n, at 95 %

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRatios:
    """The trials with the log10 LR that calibrations told which saw neither of their sources."""

    trials: ScoredTrials
    llrs: np.ndarray  # (N,)
    over: str  # what was held out: sources, or people


def cross_validate(trials: ScoredTrials, kind: CalibratorKind, seed: int = 0) -> HeldOutRatios:
    """Fit without each fold of sources, and each pair of folds, in turn; judge the trials that lie within them.

    A trial of two sides, each of its own source, is judged by a fit to trials that touch neither fold, so that every
    trial is judged once and none by its own. BAD_SCORES where too little is left to fit to.
    """
    apart = not np.array_equal(trials.sources, trials.people) and len(np.unique(trials.sources)) >= MIN_SOURCES
    over = "sources" if apart else "people"
    folds = _place(trials.sources if over == "sources" else trials.people, trials.same, seed)
    llrs = np.full(len(trials), nan)
    for one, other in _pairs(int(folds.max()) + 1):
        inside = np.flatnonzero((folds.min(axis=1) == one) & (folds.max(axis=1) == other))
        if len(inside):
            outside = np.flatnonzero(~np.isin(folds, (one, other)).any(axis=1))
            llrs[inside] = fit(trials.take(outside), kind).llrs(trials.take(inside))
    return HeldOutRatios(trials, llrs, over)


def measure(held: HeldOutRatios, policy: Policy, seed: int = 0, n: int = RESAMPLES) -> tuple[Metric, ...]:
    """Work out every figure of all trials and of each condition, with intervals from `n` resamples each way."""
    names = [ALL, *sorted(set(held.trials.conditions), key=_order)]
    if len(names) == 2:
        names = [ALL]
    found: list[Metric] = []
    for name in names:
        rows = np.flatnonzero((held.trials.conditions == name) | np.bool_(name == ALL))
        found += _measure_condition(name, _Judged(held.trials.take(rows), held.llrs[rows], policy), seed, n)
    return tuple(found)


def choose_threshold(llrs: Sequence[float] | np.ndarray, rate: float) -> float:
    """Least log10 LR that at most a share `rate` of these reach, counted as if one more did."""
    ranked = np.sort(np.asarray(llrs, np.float64))[::-1]
    allowed = int(np.floor(rate * (len(ranked) + 1) + 1e-9)) - 1  # of these may be at or above it
    if allowed < 0:
        return float(np.inf)
    return float(np.nextafter(ranked[allowed], np.inf)) if allowed < len(ranked) else float(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Trials of one condition and what was said of them."""

    trials: ScoredTrials
    llrs: np.ndarray  # (N,)
    policy: Policy

    def tell(self, weights: np.ndarray | None = None) -> Figures:
        """Work out every figure; NaN where the weights leave one hypothesis without a trial."""
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


def _measure_condition(name: str, judged: _Judged, seed: int, n: int) -> Iterator[Metric]:
    same = judged.trials.same
    if same.all() or not same.any():
        return
    spreads = [(over, _spread(sides, judged, seed, n)) for over, sides in _sides(judged.trials)]
    n_same = int(same.sum())
    for figure, value in judged.tell().items():
        told = [(*spread[figure], over) for over, spread in spreads if spread is not None]
        low, high, over = max(told, key=lambda one: one[1] - one[0], default=(None, None, ""))
        if low is not None and high is not None and figure in FITTED:
            low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
        elif low is not None and high is not None and figure.startswith(SHARES):
            kind = same if figure.startswith("same") else ~same
            low, high = _widen(value, low, high, len(np.unique(judged.trials.people[kind, 0])))
        yield Metric(figure, name, value, low, high, over, n_same, len(same) - n_same)


def _widen(value: float, low: float, high: float, n_people: int) -> tuple[float, float]:
    """Of a share of none or of all resampling tells no spread: the rule of three, over people, does."""
    reach = min(1.0, RULE_OF_3 / n_people)
    if value == 0:
        return low, max(high, reach)
    return (min(low, 1 - reach), high) if value == 1 else (low, high)


def _sides(trials: ScoredTrials) -> Iterator[tuple[str, np.ndarray]]:
    """Give what is resampled: people, and sources where they are something else; the wider interval is told."""
    yield "people", trials.people
    if not np.array_equal(trials.sources, trials.people):
        yield "sources", trials.sources


def _spread(sides: np.ndarray, judged: _Judged, seed: int, n: int) -> dict[str, tuple[float, float]] | None:
    """Intervals by drawing whole people, or sources; a trial of two counts as often as the one times the other.

    None where there is one alone, or too few of them for a resample to say something.
    """
    names, places = np.unique(sides, return_inverse=True)
    one, other = places.reshape(sides.shape).T
    figures = list(judged.tell())

    def measure_drawn(rows: np.ndarray) -> list[float]:
        drawn = np.bincount(rows, minlength=len(names))
        told = judged.tell(drawn[one] * np.where(one == other, 1, drawn[other]))
        return [told[name] for name in figures]

    try:
        return dict(zip(figures, bootstrap_rows(measure_drawn, names.tolist(), n, seed), strict=True))
    except ValueError:
        return None


def _place(units: np.ndarray, same: np.ndarray, seed: int) -> np.ndarray:
    """(N, 2) fold of each side: the units with most trials of the first hypothesis first, each where there are fewest.

    Units with equally many come in an order drawn by the seed. BAD_SCORES where there are too few units.
    """
    names, places = np.unique(units, return_inverse=True)
    places = places.reshape(units.shape)
    if len(names) < MIN_SOURCES:
        raise Code.BAD_SCORES(
            f"The trials are of {len(names)} people, wanted {MIN_SOURCES} at least to hold some out.",
            "Add clips of other people.",
        )
    own = np.bincount(places[same].ravel(), minlength=len(names))
    order = np.lexsort([np.random.default_rng(seed).permutation(len(names)), -own])
    n_folds = min(MAX_FOLDS, len(names))
    fold, load = np.zeros(len(names), int), np.zeros(n_folds)
    for name in order:
        fold[name] = int(np.argmin(load))
        load[fold[name]] += own[name] + 1e-3  # units without such a trial are spread too
    return fold[places]


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((one, other) for one in range(n) for other in range(one, n))


def _order(name: str) -> tuple[float, str]:
    """Conditions such as `4 s` by their number, words after them."""
    head = name.split()[0] if name.split() else ""
    return (float(head) if head.replace(".", "", 1).isdigit() else np.inf, name)
