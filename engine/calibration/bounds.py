"""How far likelihood ratios may go: bounds that the number of trials, and what misled among them, can back.

Two published methods and a count of people; the narrowest is taken on either side.
"""

import numpy as np

from engine.calibration.records import Bounds

STEP, FINE_STEP = 0.01, 0.001  # of log10 LR
EXTREME = 9.0  # no likelihood ratio is looked at beyond
METHOD = (
    "the narrowest of ELUB (Vergeer et al. 2016), invariance verification (Alberink et al. 2025) and the number of "
    "different pairs of people"
)


def find_bounds(llrs: np.ndarray, same: np.ndarray, people: np.ndarray) -> Bounds:
    """Bound log10 LRs (N,) of trials whose truth is `same` (N,) bool; ValueError where a hypothesis has none.

    Trials of the same two `people` (N, 2) are not independent, so no bound is further away than the log10 of the
    different pairs of people on the other side, and one.
    """
    if same.all() or not same.any():
        raise ValueError("bounds need trials of both hypotheses")
    lows, highs = zip(bound_by_utility(llrs, same), bound_by_invariance(llrs, same), strict=True)
    n_same, n_different = (len({tuple(sorted(pair)) for pair in people[kind]}) for kind in (same, ~same))
    lower, upper = max(*lows, -float(np.log10(n_same + 1))), min(*highs, float(np.log10(n_different + 1)))
    return Bounds(lower, upper, METHOD)


def bound_by_utility(llrs: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Empirical lower and upper bound (ELUB): where using the ratios costs no more than ignoring them.

    Vergeer, van Es, de Jongh, Alberink and Stoel, Science & Justice 56 (2016) 482-491. One misleading trial, as strong
    as can be, is added to either side; a threshold t costs the refused of the first hypothesis and t times the accepted
    of the second. No bound is further away than the log10 of the trials on the other side and one.
    """
    held = np.clip(llrs, -EXTREME, EXTREME)
    n_same, n_different = int(same.sum()), int((~same).sum())
    lowest = max(float(held.min()), -np.log10(n_same + 1))
    highest = min(float(held.max()), np.log10(n_different + 1))
    first, last = min(0, int(np.floor(lowest / STEP))), max(0, int(np.floor(highest / STEP)) + 1)
    steps = np.arange(first, last + 1) * STEP
    refused = (np.searchsorted(np.sort(held[same]), steps, "right") + 1) / (n_same + 1)
    accepted = (n_different - np.searchsorted(np.sort(held[~same]), steps, "right") + 1) / (n_different + 1)
    used = refused + 10**steps * accepted
    ignored = np.where(steps >= 0, 1.0, 10**steps)  # every ratio is 1: accepted below a threshold of 1, refused from it
    worse = ignored < used
    lower = max([*(steps[worse & (steps <= 0)] + STEP), steps[0]])
    upper = min([*(steps[worse & (steps >= 0)] - STEP), steps[-1]])
    return min(float(lower), 0.0), max(float(upper), 0.0)


def bound_by_invariance(llrs: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Bounds by invariance verification: as far as the share beyond a ratio is at least that ratio times as common.

    Alberink, Leegwater, Malmborg, Nordgaard, Sjerps and van der Ham, 2025, as in the package lir. Shares are estimated
    with Jeffreys's prior, so that none is 0 or 1. From 0 outwards, the last step before the first that fails.
    """
    held = np.clip(llrs, -EXTREME, EXTREME)
    first, last = (round(edge / FINE_STEP) for edge in (min(0.0, float(held.min())), max(0.0, float(held.max()))))
    steps = np.arange(first, last + 1) * FINE_STEP
    above = []
    for kind in (same, ~same):
        n_above = kind.sum() - np.searchsorted(np.sort(held[kind]), steps, "left")
        above.append((n_above + 0.5) / (kind.sum() + 1))
    high = np.log10(above[0] / above[1]) - steps
    low = steps - np.log10((1 - above[0]) / (1 - above[1]))
    fails_high, fails_low = np.flatnonzero((high < 0) & (steps > 0)), np.flatnonzero((low < 0) & (steps < 0))
    upper = steps[fails_high[0] - 1] if len(fails_high) else float(held[same].max())
    lower = steps[fails_low[-1] + 1] if len(fails_low) else float(held[~same].min())
    return min(float(lower), 0.0), max(float(upper), 0.0)
