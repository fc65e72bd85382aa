"""How well scores part real clips from others, or genuine pairs from impostors; how sure that is; higher is real.

How good likelihood ratios are: what they cost, how much of that is calibration, and how often they mislead.

All take log10 likelihood ratios (N,), whether the first hypothesis holds (N,) bool, and weights (N,), which count a
trial as often as if it stood there so many times. Figures are NaN where the weights leave one hypothesis no trial.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

Scores = Sequence[float] | np.ndarray
Statistic = Callable[[Scores, Scores], float]
"""Of the scores of real clips and of the others: `auc`, `eer`, `average_precision`."""

Measure = Callable[[np.ndarray], Sequence[float]]
"""Of row numbers, some of them more than once: what they say; NaN where they say nothing."""

COVERAGE = 0.95
MAX_EMPTY = 100  # resamples that say nothing, for each that does, before an interval is given up


@dataclass(frozen=True, slots=True, eq=False)
class ErrorCurve:
    """Both errors at every threshold, from one that accepts nothing to one that accepts all."""

    accepted: np.ndarray  # (K,) share of the others, rising from 0 to 1
    refused: np.ndarray  # (K,) share of the real, falling from 1 to 0

    def eer(self) -> float:
        """Equal error rate: where as many real are refused as others accepted, between thresholds by a line."""
        after = int(np.argmax(self.accepted >= self.refused))
        before = max(after - 1, 0)
        gap_before, gap_after = (self.refused[at] - self.accepted[at] for at in (before, after))
        share = gap_before / (gap_before - gap_after) if gap_before != gap_after else 0.0
        return float(self.accepted[before] + share * (self.accepted[after] - self.accepted[before]))

    def auc(self) -> float:
        """Chance that a real one scores above another, ties count half."""
        return float(np.trapezoid(1 - self.refused, self.accepted))

    def min_dcf(self, p_target: float) -> float:
        """Least cost of a threshold where `p_target` of all are real and both errors cost 1 (NIST SRE 2016).

        1 is the cost of not listening at all: of refusing all, or accepting all, whichever is cheaper.
        """
        cost = p_target * self.refused + (1 - p_target) * self.accepted
        return float(cost.min() / min(p_target, 1 - p_target))

    def fnir(self, fpir: float) -> float:
        """Least share of the real that is refused where of the others at most a share `fpir` is accepted.

        Of searches whose own person is enrolled, against the first candidates of strangers, this is the false-negative
        identification rate at that false-positive one (ISO/IEC 19795-1), whatever the rank.
        """
        return float(self.refused[self.accepted <= fpir + 1e-12].min())

    def trace_det(self) -> tuple[np.ndarray, np.ndarray]:
        """Both errors on the axes of a DET plot: normal deviates of (K,) accepted and refused, where both are finite.

        Martin et al. 1997: scores that are normal on either side make a straight line.
        """
        inner = (self.accepted > 0) & (self.accepted < 1) & (self.refused > 0) & (self.refused < 1)
        return norm.ppf(self.accepted[inner]), norm.ppf(self.refused[inner])


class WeightedScores:
    """Scores, sorted once, whose errors can be traced again and again under other weights."""

    def __init__(self, scores: Scores, real: Sequence[bool] | np.ndarray):
        values = np.asarray(scores, np.float64)
        self._order = np.argsort(-values, kind="stable")
        ranked = values[self._order]
        self._ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True)[: len(ranked)])  # ties stay together
        self._real = np.asarray(real, bool)[self._order]

    def trace(self, weights: np.ndarray | None = None) -> ErrorCurve | None:
        """Give the errors at every threshold; None where the weights leave no real or no other score."""
        ranked = np.ones(len(self._order)) if weights is None else weights[self._order].astype(np.float64)
        found = _accumulate(np.where(self._real, ranked, 0.0), self._ends)
        accepted = _accumulate(np.where(self._real, 0.0, ranked), self._ends)
        if not (found[-1] and accepted[-1]):
            return None
        return ErrorCurve(accepted / accepted[-1], 1 - found / found[-1])


def auc(real: Scores, other: Scores) -> float:
    """Chance that a real clip scores above another one; ties count half. ValueError where either is empty."""
    return float(roc_auc_score(*_join(real, other)))


def rank_auc(real: Scores, other: Scores) -> float:
    """The same by ranks (Mann and Whitney 1947), unchecked: a hundred times as fast, as a thousand resamples need."""
    n_real, n_other = len(real), len(other)
    ranks = rankdata(np.concatenate([real, other]))
    return float((ranks[:n_real].sum() - n_real * (n_real + 1) / 2) / (n_real * n_other))


def eer(real: Scores, other: Scores) -> float:
    """Equal error rate, see `ErrorCurve`."""
    return _trace(real, other).eer()


def min_dcf(real: Scores, other: Scores, p_target: float = 0.05) -> float:
    """Least cost of a threshold, see `ErrorCurve`."""
    return _trace(real, other).min_dcf(p_target)


def average_precision(real: Scores, other: Scores) -> float:
    """Mean precision over the recall of real clips; it depends on how many others there are."""
    return float(average_precision_score(*_join(real, other)))


def rank_hits(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """(P,) chance that `truth` (P,) is among the `k` highest of `scores` (P, S), with ties in a random order.

    NaN: no candidate. ValueError where the truth is none.
    """
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    if np.isnan(own).any():
        raise ValueError("a probe's own speaker is no candidate")
    above, level = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    return np.clip((k - above) / level, 0.0, 1.0)


def detection_rate(hits: np.ndarray, tops: np.ndarray, strangers: np.ndarray, fpir: float) -> float:
    """Share of the enrolled who are named and believed, where of strangers at most a share `fpir` is (DIR at FPIR).

    `hits` (P,) chance that the first candidate is the right one, `tops` (P,) its score, `strangers` (Q,) the score of
    the first candidate for people who are not enrolled (ISO/IEC 19795-1). ValueError where one side is empty.
    """
    if not len(tops) or not len(strangers):
        raise ValueError(f"{len(tops)} enrolled and {len(strangers)} strangers: wanted both")
    believed = int(np.floor(fpir * len(strangers) + 1e-9))  # so many strangers may be
    threshold = np.sort(strangers)[::-1][believed] if believed < len(strangers) else -np.inf
    return float((hits * (tops > threshold)).mean())


def bootstrap_interval(
    statistic: Statistic,
    scores: Scores,
    labels: Sequence[bool] | np.ndarray,
    groups: Sequence[str],
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a statistic, by the percentiles over `n` resamples of whole groups.

    `labels` are True for real; `groups` name what may not be parted (all clips of one person). Resamples without a real
    or without another clip say nothing and are drawn anew. ValueError where real or other clips are all of one group,
    whose spread nobody can tell.
    """
    values, real, named = _check(scores, groups), np.asarray(labels, bool), np.asarray(groups)
    if real.shape != values.shape:
        raise ValueError(f"{len(real)} labels for {len(values)} scores")
    for kind, chosen in (("real", real), ("other", ~real)):
        if len(set(named[chosen])) < 2:
            raise ValueError(f"an interval needs {kind} clips of at least two groups")

    def tell(rows: np.ndarray) -> tuple[float]:
        drawn, is_real = values[rows], real[rows]
        return (statistic(drawn[is_real], drawn[~is_real]) if 0 < is_real.sum() < len(is_real) else np.nan,)

    return bootstrap_rows(tell, groups, n, seed)[0]


def bootstrap_mean(values: Scores, groups: Sequence[str], n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean, over `n` resamples of whole groups; ValueError where all are of one group."""
    checked = _check(values, groups)
    return bootstrap_rows(lambda rows: (float(checked[rows].mean()),), groups, n, seed)[0]


def bootstrap_rows(measure: Measure, groups: Sequence[str], n: int = 1000, seed: int = 0) -> list[tuple[float, float]]:
    """95 % interval of each figure that `measure` tells, over `n` resamples of the rows of whole groups.

    Resamples with NaN among their figures are drawn anew. ValueError where all rows are of one group, or hardly any
    resample says something.
    """
    named = np.asarray(groups)
    if len(set(groups)) < 2:
        raise ValueError("an interval needs at least two groups")
    found: list[Sequence[float]] = []
    for drawn, rows in enumerate(_resample(named, np.random.default_rng(seed))):
        if drawn >= MAX_EMPTY * (len(found) + 1):
            raise ValueError(f"of {drawn} resamples only {len(found)} said something")
        told = measure(rows)
        if not np.isnan(told).any():
            found.append(told)
        if len(found) == n:
            break
    return [_percentiles(column) for column in np.asarray(found, np.float64).T]


def _resample(groups: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of as many groups as there are, drawn with replacement, without end."""
    _, which = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    while True:
        yield np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])


def _trace(real: Scores, other: Scores) -> ErrorCurve:
    labels, scores = _join(real, other)
    curve = WeightedScores(scores, labels == 1).trace()
    assert curve is not None, "both sides were checked not to be empty"
    return curve


def _accumulate(weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sums up to and with each end, after a 0."""
    return np.concatenate([[0.0], np.cumsum(weights)[ends]])


def _join(real: Scores, other: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as scikit-learn takes them."""
    for kind, scores in (("real", real), ("other", other)):
        if len(scores) == 0:
            raise ValueError(f"there are no scores of {kind} clips")
    scores = np.concatenate([np.asarray(real, np.float64), np.asarray(other, np.float64)])
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number")
    return np.repeat([1, 0], [len(real), len(other)]), scores


def _check(values: Scores, groups: Sequence[str]) -> np.ndarray:
    checked = np.asarray(values, np.float64)
    if checked.shape != (len(groups),):
        raise ValueError(f"{len(groups)} groups for values of shape {checked.shape}")
    if not np.isfinite(checked).all():
        raise ValueError("a value is not a finite number")
    return checked


def _percentiles(found: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


LN_10 = float(np.log(10.0))
BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Tippett:
    """Share of the trials of either hypothesis whose log10 LR is at least as high."""

    llrs: np.ndarray  # (K,) rising
    same: np.ndarray  # (K,) falling from 1
    different: np.ndarray  # (K,) falling from 1


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """What was said against what was so, at even odds, trials in bins of one size each."""

    said: np.ndarray  # (B,) mean probability of the first hypothesis, from the likelihood ratio at prior 0.5
    found: np.ndarray  # (B,) share for which it holds, both hypotheses brought to one weight
    counts: np.ndarray  # (B,) trials


def cllr(llrs: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Cost of the likelihood ratios: 0 is perfect, 1 as good as saying nothing (Brümmer and du Preez 2006, eq. 18)."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    bits = np.logaddexp(0.0, np.where(same, -llrs, llrs) * LN_10) / np.log(2.0)
    return float(bits @ counted)


def cllr_min(llrs: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> float:
    """What would be left of `cllr` after the best monotone calibration: of these very trials, told by PAV."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    posterior, places = pool_violators(llrs, same, counted)
    chosen = np.where(same, posterior[places], 1 - posterior[places])
    used = counted > 0  # of these none is 0: a trial is part of its own pool
    return float(-np.log2(chosen[used]) @ counted[used])


def act_dcf(llrs: np.ndarray, same: np.ndarray, p_target: float, weights: np.ndarray | None = None) -> float:
    """Cost of deciding at the Bayes threshold of prior `p_target`, both errors costing 1; see `ErrorCurve.min_dcf`."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    accepted = llrs >= np.log10((1 - p_target) / p_target)
    missed, alarmed = 2 * counted[same & ~accepted].sum(), 2 * counted[~same & accepted].sum()
    return float((p_target * missed + (1 - p_target) * alarmed) / min(p_target, 1 - p_target))


def share_from(llrs: np.ndarray, kind: np.ndarray, least: float, weights: np.ndarray | None = None) -> float:
    """Share of the trials of one kind (N,) bool whose log10 LR is at least so high; NaN where there is none.

    Of the second hypothesis's trials, LR >= k is at most 1 / k likely where ratios mean what they say.
    """
    plain = np.ones(len(kind)) if weights is None else weights
    total = plain[kind].sum()
    return float(plain[kind & (llrs >= least)].sum() / total) if total > 0 else np.nan


def pool_violators(scores: np.ndarray, same: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) posterior of the first hypothesis at each different score, never falling (PAV), and (N,) place of each."""
    _, places = np.unique(scores, return_inverse=True)
    whole = np.bincount(places, counted)
    part = np.bincount(places, np.where(same, counted, 0.0))
    there = whole > 0
    posterior = np.full(len(whole), np.nan)
    posterior[there] = isotonic_regression(part[there] / whole[there], weights=whole[there]).x
    return np.clip(posterior, 0.0, 1.0), places


def trace_tippett(llrs: np.ndarray, same: np.ndarray) -> Tippett:
    """Trace both curves; ValueError where one hypothesis has no trial."""
    if _count(same, None) is None:
        raise ValueError("a Tippett plot needs trials of both hypotheses")
    steps = np.unique(llrs)
    shares = [1 - np.searchsorted(np.sort(llrs[kind]), steps, "left") / kind.sum() for kind in (same, ~same)]
    return Tippett(steps, *shares)


def trace_reliability(llrs: np.ndarray, same: np.ndarray, n_bins: int = BINS) -> Reliability:
    """Hold what was said against what was so; ValueError where one hypothesis has no trial."""
    counted = _count(same, None)
    if counted is None:
        raise ValueError("reliability needs trials of both hypotheses")
    order = np.argsort(llrs, kind="stable")
    posterior = 1 / (1 + np.exp(-llrs * LN_10))
    bins = [rows for rows in np.array_split(order, n_bins) if len(rows)]
    said = [np.average(posterior[rows], weights=counted[rows]) for rows in bins]
    found = [np.average(same[rows], weights=counted[rows]) for rows in bins]
    return Reliability(np.array(said), np.array(found), np.array([len(rows) for rows in bins]))


def _count(same: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
    """(N,) shares of the trials such that either hypothesis has a half; None where one has nothing."""
    plain = np.ones(len(same)) if weights is None else weights.astype(np.float64)
    totals = plain[same].sum(), plain[~same].sum()
    if not (totals[0] > 0 and totals[1] > 0):
        return None
    return np.where(same, plain / (2 * totals[0]), plain / (2 * totals[1]))
