"""How good likelihood ratios are: what they cost, how much of that is calibration, and how often they mislead.

All take log10 likelihood ratios (N,), whether the first hypothesis holds (N,) bool, and weights (N,), which count a
trial as often as if it stood there so many times. Figures are NaN where the weights leave one hypothesis no trial.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

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
