"""Fit calibrators and LR bounds to labelled trials: affine logistic regression, or isotonic for many trials.

The bounds are the narrowest of two published methods and a count of person pairs, on each side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from engine.calibration.calibrators import FallingRatio, Isotonic, Logistic
from engine.calibration.lengths import EDGES_S, SPAN_EDGES_S, LengthBounds, clip_by_length, list_ranges, select
from engine.calibration.records import Bounds, CalibratorKind, Task
from engine.calibration.trials import ScoredTrials
from engine.errors import Code
from engine.metrics import LN_10, pool_violators

STEP, FINE_STEP = 0.01, 0.001  # of log10 LR
EXTREME = 9.0  # log10 LRs are clipped to this
METHOD = (
    "the narrowest of ELUB (Vergeer et al. 2016), invariance verification (Alberink et al. 2025) and the number of "
    "different pairs of people"
)


def find_bounds(llrs: np.ndarray, same: np.ndarray, people: np.ndarray) -> Bounds:
    """Bound log10 LRs (N,) of trials labelled `same` (N,) bool; ValueError where a hypothesis has none.

    Trials of the same two `people` (N, 2) are not independent, so no bound exceeds log10(1 + the number of distinct
    pairs of people on the other side).
    """
    if same.all() or not same.any():
        raise ValueError("bounds need trials of both hypotheses")
    lows, highs = zip(bound_by_utility(llrs, same), bound_by_invariance(llrs, same), strict=True)
    n_same, n_different = (len({tuple(sorted(pair)) for pair in people[kind]}) for kind in (same, ~same))
    lower, upper = max(*lows, -float(np.log10(n_same + 1))), min(*highs, float(np.log10(n_different + 1)))
    return Bounds(lower, upper, METHOD)


def find_length_bounds(
    llrs: np.ndarray,
    same: np.ndarray,
    people: np.ndarray,
    speech_s: np.ndarray,
    edges_s: Sequence[float] = EDGES_S,
) -> tuple[LengthBounds, ...]:
    """Bound log10 LRs by the trials of each range of seconds (N,) of speech, from the first with trials.

    A longer recording contains shorter ones, so a range never has narrower bounds than the range before; without trials
    it has the same.
    """
    found: list[LengthBounds] = []
    for start, end in list_ranges(edges_s):
        rows = select(speech_s, start, end)
        lower, upper = (found[-1].lower_llr, found[-1].upper_llr) if found else (0.0, 0.0)
        if same[rows].any() and not same[rows].all():
            own = find_bounds(llrs[rows], same[rows], people[rows])
            lower, upper = min(lower, own.lower_llr), max(upper, own.upper_llr)
        elif not found:
            continue
        found.append(LengthBounds(start, end, lower, upper))
    return tuple(found)


def bound_by_utility(llrs: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Empirical lower and upper bound (ELUB): the range where using the ratios costs no more than ignoring them.

    Vergeer, van Es, de Jongh, Alberink and Stoel, Science & Justice 56 (2016) 482-491. One maximally misleading trial
    is added to each side; a threshold t costs the rejected trials of the first hypothesis and t times the accepted ones
    of the second. No bound exceeds log10(1 + the number of trials on the other side).
    """
    clipped = np.clip(llrs, -EXTREME, EXTREME)
    n_same, n_different = int(same.sum()), int((~same).sum())
    lowest = max(float(clipped.min()), -np.log10(n_same + 1))
    highest = min(float(clipped.max()), np.log10(n_different + 1))
    first, last = min(0, int(np.floor(lowest / STEP))), max(0, int(np.floor(highest / STEP)) + 1)
    steps = np.arange(first, last + 1) * STEP
    rejected = (np.searchsorted(np.sort(clipped[same]), steps, "right") + 1) / (n_same + 1)
    accepted = (n_different - np.searchsorted(np.sort(clipped[~same]), steps, "right") + 1) / (n_different + 1)
    used = rejected + 10**steps * accepted
    ignored = np.where(steps >= 0, 1.0, 10**steps)  # every ratio is 1: accepted below a threshold of 1, else rejected
    worse = ignored < used
    lower = max([*(steps[worse & (steps <= 0)] + STEP), steps[0]])
    upper = min([*(steps[worse & (steps >= 0)] - STEP), steps[-1]])
    return min(float(lower), 0.0), max(float(upper), 0.0)


def bound_by_invariance(llrs: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Bounds by invariance verification: the range where the tail beyond each ratio is at least that ratio as common.

    Alberink, Leegwater, Malmborg, Nordgaard, Sjerps and van der Ham, 2025, as in the package lir. Tail probabilities
    use Jeffreys's prior, so that none is 0 or 1. The bound is the last step from 0 outwards before the first failure.
    """
    clipped = np.clip(llrs, -EXTREME, EXTREME)
    first, last = (round(edge / FINE_STEP) for edge in (min(0.0, float(clipped.min())), max(0.0, float(clipped.max()))))
    steps = np.arange(first, last + 1) * FINE_STEP
    above = []
    for kind in (same, ~same):
        n_above = kind.sum() - np.searchsorted(np.sort(clipped[kind]), steps, "left")
        above.append((n_above + 0.5) / (kind.sum() + 1))
    high = np.log10(above[0] / above[1]) - steps
    low = steps - np.log10((1 - above[0]) / (1 - above[1]))
    fails_high, fails_low = np.flatnonzero((high < 0) & (steps > 0)), np.flatnonzero((low < 0) & (steps < 0))
    upper = steps[fails_high[0] - 1] if len(fails_high) else float(clipped[same].max())
    lower = steps[fails_low[-1] + 1] if len(fails_low) else float(clipped[~same].min())
    return min(float(lower), 0.0), max(float(upper), 0.0)


EFFECTIVE_PRIOR = 0.5  # equal weight of both hypotheses, so that the log-odds are the log LR
PENALTY = 1.0  # on standardised inputs; it bounds the slope of perfectly separated scores
MIN_EACH, MIN_EACH_ISOTONIC = 20, 200  # trials of each hypothesis
MIN_PEOPLE = 4  # of each hypothesis
MIN_SPREAD = 0.05  # deviation of a quality, natural logarithm; below it the quality is ignored


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted calibrator, its covariates and its LR bounds."""

    kind: CalibratorKind
    parameters: Logistic | Isotonic
    qualities: tuple[str, ...]
    bounds: Bounds  # the widest of `by_length`, if there are any
    by_length: tuple[LengthBounds, ...] = ()

    def llrs(self, trials: ScoredTrials) -> np.ndarray:
        """(N,) log10 LR within the bounds."""
        found = self.parameters.apply(trials.scores, pick_qualities(trials, self.qualities))
        if self.by_length and trials.speech_s is not None:
            return clip_by_length(found, trials.speech_s, self.by_length)
        return np.clip(found, self.bounds.lower_llr, self.bounds.upper_llr)


def fit(
    trials: ScoredTrials, kind: CalibratorKind = CalibratorKind.LOGISTIC, qualities: tuple[str, ...] | None = None
) -> Fitted:
    """Fit a calibrator and its bounds; BAD_SCORES for too few trials or people.

    The logistic calibrator uses the named qualities, by default all of the trials, the isotonic one none. Trials with
    seconds of speech have bounds by length.
    """
    check_enough(trials, MIN_EACH_ISOTONIC if kind == CalibratorKind.ISOTONIC else MIN_EACH)
    parameters: Logistic | Isotonic
    if kind == CalibratorKind.ISOTONIC:
        parameters, names = fit_isotonic(trials), tuple[str, ...]()
    else:
        parameters, names = fit_logistic(trials, qualities)
    llrs = parameters.apply(trials.scores, pick_qualities(trials, names))
    if trials.speech_s is None:
        return Fitted(kind, parameters, names, find_bounds(llrs, trials.same, trials.people))
    edges_s = SPAN_EDGES_S if trials.task == Task.SPANS else EDGES_S
    ranges = find_length_bounds(llrs, trials.same, trials.people, trials.speech_s, edges_s)
    lower, upper = (ranges[-1].lower_llr, ranges[-1].upper_llr) if ranges else (0.0, 0.0)
    return Fitted(kind, parameters, names, Bounds(lower, upper, f"{METHOD}, by seconds of speech"), ranges)


def check_enough(trials: ScoredTrials, n_each: int = MIN_EACH) -> None:
    """Raise BAD_SCORES where a hypothesis has too few trials or people."""
    for kind, name in ((trials.same, "same"), (~trials.same, "different")):
        people = set(trials.people[kind].ravel())
        if kind.sum() < n_each or len(people) < MIN_PEOPLE:
            raise Code.BAD_SCORES(
                f"There are {kind.sum()} {name}-source trials of {len(people)} people; "
                f"{n_each} of {MIN_PEOPLE} people are required.",
                "Add clips of other people; the logistic calibrator needs fewer trials than the isotonic one.",
            )


def fit_logistic(trials: ScoredTrials, qualities: tuple[str, ...] | None = None) -> tuple[Logistic, tuple[str, ...]]:
    """Fit with the products of score and qualities; return the calibrator and the names of its qualities.

    Where the likelihood ratio would fall while the score rises, the products are dropped, then the qualities; where it
    still falls, the scores carry no evidence and every likelihood ratio is 1.
    """
    wanted = trials.quality_names if qualities is None else qualities
    names = tuple(name for name in wanted if _varies(trials, name))
    for chosen, with_products in ((names, True), (names, False), ((), False)):
        found = _fit_logistic(trials, chosen, with_products)
        if found is not None:
            return found, chosen
    return Logistic(0.0, 0.0, (), (), (0.0,), (1.0,), (), ()), ()


def fit_isotonic(trials: ScoredTrials) -> Isotonic:
    """Pool adjacent violators; a pool of one hypothesis counts half a trial of the other, to stay finite."""
    counted = np.where(trials.same, 0.5 / trials.same.sum(), 0.5 / (~trials.same).sum())
    posterior, _ = pool_violators(trials.scores, trials.same, counted)
    least, most = 0.5 / trials.same.sum(), 0.5 / (~trials.same).sum()
    posterior = np.clip(posterior, least, 1 - most)
    llrs = np.log10(posterior / (1 - posterior))
    steps = np.unique(trials.scores)
    kept = _find_ends(llrs)
    return Isotonic(_plain(steps[kept]), _plain(llrs[kept]))


def pick_qualities(trials: ScoredTrials, names: tuple[str, ...]) -> np.ndarray:
    """(N, Q) columns of the named qualities."""
    return trials.qualities[:, [trials.quality_names.index(name) for name in names]]


def _fit_logistic(trials: ScoredTrials, names: tuple[str, ...], with_products: bool) -> Logistic | None:
    qualities = pick_qualities(trials, names)
    columns = np.column_stack([trials.scores, qualities])
    centre, scale = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-12)
    inputs = (columns - centre) / scale
    if with_products:
        inputs = np.column_stack([inputs, inputs[:, :1] * inputs[:, 1:]])
    model = LogisticRegression(
        C=PENALTY, class_weight="balanced", solver="newton-cholesky", tol=1e-10
    )  # exact in a few steps
    found = model.fit(inputs, trials.same).coef_[0] / LN_10
    n = len(names)
    try:
        return Logistic(
            intercept=float(model.intercept_[0] / LN_10),
            slope=float(found[0]),
            weights=_plain(found[1 : 1 + n]),
            products=_plain(found[1 + n :]) if with_products else (0.0,) * n,
            centre=_plain(centre),
            scale=_plain(scale),
            lowest=_plain(qualities.min(axis=0)),
            highest=_plain(qualities.max(axis=0)),
        )
    except FallingRatio:
        return None


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


def _varies(trials: ScoredTrials, name: str) -> bool:
    return float(pick_qualities(trials, (name,)).std()) >= MIN_SPREAD


def _find_ends(llrs: np.ndarray) -> np.ndarray:
    """(K,) bool: first and last of each run of equal values, which interpolation needs."""
    new = np.append(True, llrs[1:] != llrs[:-1])
    last = np.append(llrs[1:] != llrs[:-1], True)
    return new | last
