"""Calibrators fitted to trials whose truth is known: affine logistic regression, or isotonic with trials enough."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from engine.calibration.bounds import find_bounds
from engine.calibration.calibrators import FallingRatio, Isotonic, Logistic
from engine.calibration.records import Bounds, CalibratorKind
from engine.calibration.trials import ScoredTrials
from engine.errors import Code
from engine.likelihoods import LN_10, pool_violators

EFFECTIVE_PRIOR = 0.5  # both hypotheses weigh the same in fitting, so the log-odds are the likelihood ratio
PENALTY = 1.0  # on standardised inputs; it keeps parted scores from an endless slope, and says little else
MIN_EACH, MIN_EACH_ISOTONIC = 20, 200  # trials of either hypothesis
MIN_PEOPLE = 4  # on either side of the truth
MIN_SPREAD = 0.05  # of a quality, in natural logarithms: below it there is nothing to learn of it


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A calibrator with what of the trials it looks at, and how far it may be believed."""

    kind: CalibratorKind
    parameters: Logistic | Isotonic
    qualities: tuple[str, ...]
    bounds: Bounds

    def llrs(self, trials: ScoredTrials) -> np.ndarray:
        """(N,) log10 LR within the bounds."""
        found = self.parameters.apply(trials.scores, pick_qualities(trials, self.qualities))
        return np.clip(found, self.bounds.lower_llr, self.bounds.upper_llr)


def fit(trials: ScoredTrials, kind: CalibratorKind = CalibratorKind.LOGISTIC) -> Fitted:
    """Fit a calibrator and its bounds; BAD_SCORES where there are too few trials or people for it.

    The logistic one looks at all qualities of the trials, the isotonic one at none.
    """
    check_enough(trials, MIN_EACH_ISOTONIC if kind == CalibratorKind.ISOTONIC else MIN_EACH)
    parameters: Logistic | Isotonic
    if kind == CalibratorKind.ISOTONIC:
        parameters, names = fit_isotonic(trials), tuple[str, ...]()
    else:
        parameters, names = fit_logistic(trials)
    llrs = parameters.apply(trials.scores, pick_qualities(trials, names))
    return Fitted(kind, parameters, names, find_bounds(llrs, trials.same, trials.people))


def check_enough(trials: ScoredTrials, n_each: int = MIN_EACH) -> None:
    """Raise BAD_SCORES where either hypothesis has too few trials, or trials of too few people."""
    for kind, name in ((trials.same, "hold"), (~trials.same, "do not hold")):
        people = set(trials.people[kind].ravel())
        if kind.sum() < n_each or len(people) < MIN_PEOPLE:
            raise Code.BAD_SCORES(
                f"Of trials in which the two sides {name} together there are {kind.sum()}, of {len(people)} people; "
                f"wanted {n_each} of {MIN_PEOPLE} at least.",
                "Add clips of other people; the logistic calibrator needs fewer trials than the isotonic one.",
            )


def fit_logistic(trials: ScoredTrials) -> tuple[Logistic, tuple[str, ...]]:
    """Fit with the products of score and qualities, and name the qualities.

    The products go where the likelihood ratio would fall while the score rises, and then the qualities; where it falls
    even so, the scores say nothing, and every likelihood ratio is 1.
    """
    names = tuple(name for name in trials.quality_names if _varies(trials, name))
    for chosen, with_products in ((names, True), (names, False), ((), False)):
        found = _fit_logistic(trials, chosen, with_products)
        if found is not None:
            return found, chosen
    return Logistic(0.0, 0.0, (), (), (0.0,), (1.0,), (), ()), ()


def fit_isotonic(trials: ScoredTrials) -> Isotonic:
    """Pool adjacent violators; a pool with one hypothesis alone is given half a trial of the other, to stay finite."""
    counted = np.where(trials.same, 0.5 / trials.same.sum(), 0.5 / (~trials.same).sum())
    posterior, _ = pool_violators(trials.scores, trials.same, counted)
    least, most = 0.5 / trials.same.sum(), 0.5 / (~trials.same).sum()
    held = np.clip(posterior, least, 1 - most)
    llrs = np.log10(held / (1 - held))
    steps = np.unique(trials.scores)
    kept = _find_ends(llrs)
    return Isotonic(_plain(steps[kept]), _plain(llrs[kept]))


def pick_qualities(trials: ScoredTrials, names: tuple[str, ...]) -> np.ndarray:
    """(N, Q) the named columns."""
    return trials.qualities[:, [trials.quality_names.index(name) for name in names]]


def _fit_logistic(trials: ScoredTrials, names: tuple[str, ...], with_products: bool) -> Logistic | None:
    qualities = pick_qualities(trials, names)
    columns = np.column_stack([trials.scores, qualities])
    centre, scale = columns.mean(axis=0), np.maximum(columns.std(axis=0), 1e-12)
    told = (columns - centre) / scale
    inputs = np.column_stack([told, told[:, :1] * told[:, 1:]]) if with_products else told
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
    """(K,) bool: the first and the last of each run of one value; what lies between is on the line of both."""
    new = np.append(True, llrs[1:] != llrs[:-1])
    last = np.append(llrs[1:] != llrs[:-1], True)
    return new | last
