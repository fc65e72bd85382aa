"""Discrimination metrics of scores with bootstrap intervals, and metrics of likelihood ratios.

Scores: `real` are those of real clips or genuine pairs, `other` those of fakes or impostors; higher means real.
Likelihood ratios: log10 LRs (N,), `same` (N,) bool for the first hypothesis, and weights (N,), the multiplicity of each
trial. Results are NaN if the weights leave one hypothesis without trials.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

Scores = Sequence[float] | np.ndarray
Statistic = Callable[[Scores, Scores], float]
"""`statistic(real, other)`: `auc`, `eer`, `average_precision`."""

Measure = Callable[[np.ndarray], Sequence[float]]
"""`measure(rows)`: metrics of the rows, which may repeat; NaN if undefined."""

COVERAGE = 0.95
MAX_EMPTY = 100  # undefined resamples per defined one before an interval fails


@dataclass(frozen=True, slots=True, eq=False)
class ErrorCurve:
    """Both error rates at every threshold, from accepting nothing to accepting everything."""

    accepted: np.ndarray  # (K,) false-acceptance rate, rising from 0 to 1
    refused: np.ndarray  # (K,) false-rejection rate, falling from 1 to 0

    def eer(self) -> float:
        """Return the equal error rate, interpolated linearly between thresholds."""
        after = int(np.argmax(self.accepted >= self.refused))
        before = max(after - 1, 0)
        gap_before, gap_after = (self.refused[at] - self.accepted[at] for at in (before, after))
        share = gap_before / (gap_before - gap_after) if gap_before != gap_after else 0.0
        return float(self.accepted[before] + share * (self.accepted[after] - self.accepted[before]))

    def auc(self) -> float:
        """Return the probability that real scores above other; ties count half."""
        return float(np.trapezoid(1 - self.refused, self.accepted))

    def min_dcf(self, p_target: float) -> float:
        """Return the minimum detection cost at prior `p_target` with unit costs (NIST SRE 2016).

        It is normalised by the cheaper of rejecting all and accepting all.
        """
        cost = p_target * self.refused + (1 - p_target) * self.accepted
        return float(cost.min() / min(p_target, 1 - p_target))

    def fnir(self, fpir: float) -> float:
        """Return the minimum false-rejection rate at a false-acceptance rate of at most `fpir`.

        For searches of enrolled speakers against first candidates of non-enrolled ones, this is the FNIR at that FPIR
        (ISO/IEC 19795-1), at any rank.
        """
        return float(self.refused[self.accepted <= fpir + 1e-12].min())

    def trace_det(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both error rates as normal deviates (K,) for a DET plot (Martin et al. 1997), finite ones only."""
        inner = (self.accepted > 0) & (self.accepted < 1) & (self.refused > 0) & (self.refused < 1)
        return norm.ppf(self.accepted[inner]), norm.ppf(self.refused[inner])


class WeightedScores:
    """Scores sorted once, to compute error curves under several weights."""

    def __init__(self, scores: Scores, real: Sequence[bool] | np.ndarray):
        values = np.asarray(scores, np.float64)
        self._order = np.argsort(-values, kind="stable")
        ranked = values[self._order]
        self._ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True)[: len(ranked)])  # ties share a threshold
        self._real = np.asarray(real, bool)[self._order]

    def trace(self, weights: np.ndarray | None = None) -> ErrorCurve | None:
        """Return the error curve; None if the weights leave no real or no other score."""
        ranked = np.ones(len(self._order)) if weights is None else weights[self._order].astype(np.float64)
        found = _accumulate(np.where(self._real, ranked, 0.0), self._ends)
        accepted = _accumulate(np.where(self._real, 0.0, ranked), self._ends)
        if not (found[-1] and accepted[-1]):
            return None
        return ErrorCurve(accepted / accepted[-1], 1 - found / found[-1])


def auc(real: Scores, other: Scores) -> float:
    """Return the area under the ROC curve; raises ValueError if either side is empty."""
    return float(roc_auc_score(*_join(real, other)))


def rank_auc(real: Scores, other: Scores) -> float:
    """Return the AUC by ranks (Mann and Whitney 1947), unchecked: a hundred times as fast, for bootstrap resamples."""
    n_real, n_other = len(real), len(other)
    ranks = rankdata(np.concatenate([real, other]))
    return float((ranks[:n_real].sum() - n_real * (n_real + 1) / 2) / (n_real * n_other))


def eer(real: Scores, other: Scores) -> float:
    """Return the equal error rate, see `ErrorCurve.eer`."""
    return _trace(real, other).eer()


def min_dcf(real: Scores, other: Scores, p_target: float = 0.05) -> float:
    """Return the minimum detection cost, see `ErrorCurve.min_dcf`."""
    return _trace(real, other).min_dcf(p_target)


def average_precision(real: Scores, other: Scores) -> float:
    """Return the average precision of real clips; it depends on the class balance."""
    return float(average_precision_score(*_join(real, other)))


def rank_hits(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """Return (P,) probabilities that `truth` (P,) is among the `k` highest of `scores` (P, S), ties in random order.

    NaN marks a speaker that is no candidate; raises ValueError if the truth is one of these.
    """
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    if np.isnan(own).any():
        raise ValueError("the speaker of a probe is not among the candidates")
    above, level = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    return np.clip((k - above) / level, 0.0, 1.0)


def detection_rate(hits: np.ndarray, tops: np.ndarray, unenrolled: np.ndarray, fpir: float) -> float:
    """Return the detection and identification rate (DIR) at `fpir` (ISO/IEC 19795-1).

    `hits` (P,) probability that the first candidate is correct, `tops` (P,) its score, `unenrolled` (Q,) the score of
    the first candidate of non-enrolled speakers. Raises ValueError if one side is empty.
    """
    if not len(tops) or not len(unenrolled):
        raise ValueError(f"{len(tops)} enrolled and {len(unenrolled)} unenrolled: wanted both")
    accepted = int(np.floor(fpir * len(unenrolled) + 1e-9))  # so many may be accepted
    threshold = np.sort(unenrolled)[::-1][accepted] if accepted < len(unenrolled) else -np.inf
    return float((hits * (tops > threshold)).mean())


def bootstrap_interval(
    statistic: Statistic,
    scores: Scores,
    labels: Sequence[bool] | np.ndarray,
    groups: Sequence[str],
    n: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic over `n` resamples of whole groups.

    `labels` are True for real; `groups` are resampled as a whole (all clips of one speaker). Resamples without a real
    or without an other clip are redrawn. Raises ValueError if real or other clips are all of one group.
    """
    values, real, named = _check(scores, groups), np.asarray(labels, bool), np.asarray(groups)
    if real.shape != values.shape:
        raise ValueError(f"{len(real)} labels for {len(values)} scores")
    for kind, chosen in (("real", real), ("other", ~real)):
        if len(set(named[chosen])) < 2:
            raise ValueError(f"an interval needs {kind} clips of at least two groups")

    def measure(rows: np.ndarray) -> tuple[float]:
        drawn, is_real = values[rows], real[rows]
        return (statistic(drawn[is_real], drawn[~is_real]) if 0 < is_real.sum() < len(is_real) else np.nan,)

    return bootstrap_rows(measure, groups, n, seed)[0]


def bootstrap_mean(values: Scores, groups: Sequence[str], n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over groups; raises ValueError for a single group."""
    checked = _check(values, groups)
    return bootstrap_rows(lambda rows: (float(checked[rows].mean()),), groups, n, seed)[0]


def bootstrap_rows(measure: Measure, groups: Sequence[str], n: int = 1000, seed: int = 0) -> list[tuple[float, float]]:
    """Return the 95 % interval of each metric of `measure` over `n` resamples of whole groups.

    Resamples with NaN are redrawn. Raises ValueError for a single group, or if nearly all resamples are undefined.
    """
    named = np.asarray(groups)
    if len(set(groups)) < 2:
        raise ValueError("an interval needs at least two groups")
    found: list[Sequence[float]] = []
    for drawn, rows in enumerate(_resample(named, np.random.default_rng(seed))):
        if drawn >= MAX_EMPTY * (len(found) + 1):
            raise ValueError(f"only {len(found)} of {drawn} resamples are defined")
        values = measure(rows)
        if not np.isnan(values).any():
            found.append(values)
        if len(found) == n:
            break
    return [_percentiles(column) for column in np.asarray(found, np.float64).T]


def _resample(groups: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield rows of groups drawn with replacement, as many as there are groups, endlessly."""
    _, which = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    while True:
        yield np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])


def _trace(real: Scores, other: Scores) -> ErrorCurve:
    labels, scores = _join(real, other)
    curve = WeightedScores(scores, labels == 1).trace()
    assert curve is not None, "`_join` checks that no side is empty"
    return curve


def _accumulate(weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return cumulative sums at each end, after a 0."""
    return np.concatenate([[0.0], np.cumsum(weights)[ends]])


def _join(real: Scores, other: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores in the format of scikit-learn."""
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
    """Tippett plot: share of the trials of either hypothesis with at least this log10 LR."""

    llrs: np.ndarray  # (K,) rising
    same: np.ndarray  # (K,) falling from 1
    different: np.ndarray  # (K,) falling from 1


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Reliability diagram at prior 0.5, in bins of equal size."""

    said: np.ndarray  # (B,) mean posterior of the first hypothesis
    found: np.ndarray  # (B,) observed share, both hypotheses weighted equally
    counts: np.ndarray  # (B,) trials


def cllr(llrs: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return Cllr: 0 is perfect, 1 is uninformative (Brümmer and du Preez 2006, eq. 18)."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    bits = np.logaddexp(0.0, np.where(same, -llrs, llrs) * LN_10) / np.log(2.0)
    return float(bits @ counted)


def cllr_min(llrs: np.ndarray, same: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return Cllr after optimal monotone calibration (PAV) on the same trials."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    posterior, places = pool_violators(llrs, same, counted)
    chosen = np.where(same, posterior[places], 1 - posterior[places])
    used = counted > 0  # never 0: a trial is part of its pool
    return float(-np.log2(chosen[used]) @ counted[used])


def act_dcf(llrs: np.ndarray, same: np.ndarray, p_target: float, weights: np.ndarray | None = None) -> float:
    """Return the detection cost at the Bayes threshold of prior `p_target`, unit costs; see `ErrorCurve.min_dcf`."""
    counted = _count(same, weights)
    if counted is None:
        return np.nan
    accepted = llrs >= np.log10((1 - p_target) / p_target)
    missed, alarmed = 2 * counted[same & ~accepted].sum(), 2 * counted[~same & accepted].sum()
    return float((p_target * missed + (1 - p_target) * alarmed) / min(p_target, 1 - p_target))


def share_from(llrs: np.ndarray, kind: np.ndarray, least: float, weights: np.ndarray | None = None) -> float:
    """Return the share of the trials of one kind (N,) bool with log10 LR of at least `least`; NaN without trials.

    For calibrated LRs, LR >= k has probability of at most 1 / k under the second hypothesis.
    """
    plain = np.ones(len(kind)) if weights is None else weights
    total = plain[kind].sum()
    return float(plain[kind & (llrs >= least)].sum() / total) if total > 0 else np.nan


def pool_violators(scores: np.ndarray, same: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return PAV posteriors (K,) of the first hypothesis per distinct score, and the index (N,) of each trial."""
    _, places = np.unique(scores, return_inverse=True)
    whole = np.bincount(places, counted)
    part = np.bincount(places, np.where(same, counted, 0.0))
    there = whole > 0
    posterior = np.full(len(whole), np.nan)
    posterior[there] = isotonic_regression(part[there] / whole[there], weights=whole[there]).x
    return np.clip(posterior, 0.0, 1.0), places


def trace_tippett(llrs: np.ndarray, same: np.ndarray) -> Tippett:
    """Compute both curves; raises ValueError if one hypothesis has no trial."""
    if _count(same, None) is None:
        raise ValueError("a Tippett plot needs trials of both hypotheses")
    steps = np.unique(llrs)
    shares = [1 - np.searchsorted(np.sort(llrs[kind]), steps, "left") / kind.sum() for kind in (same, ~same)]
    return Tippett(steps, *shares)


def trace_reliability(llrs: np.ndarray, same: np.ndarray, n_bins: int = BINS) -> Reliability:
    """Compute the reliability diagram; raises ValueError if one hypothesis has no trial."""
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
    """Return weights (N,) with a total of one half per hypothesis; None if one has no weight."""
    plain = np.ones(len(same)) if weights is None else weights.astype(np.float64)
    totals = plain[same].sum(), plain[~same].sum()
    if not (totals[0] > 0 and totals[1] > 0):
        return None
    return np.where(same, plain / (2 * totals[0]), plain / (2 * totals[1]))
