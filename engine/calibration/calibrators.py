"""Monotone calibrators with fitted parameters: score to log10 likelihood ratio. `fitting` fits them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class FallingRatio(ValueError):
    """The likelihood ratio falls while the score rises."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """log10 LR = intercept + slope s + weights q + products s q, of a score s and qualities q, each standardised.

    Qualities are clipped to their range in fitting, where the slope of the score is never negative.
    """

    intercept: float
    slope: float
    weights: tuple[float, ...]  # (Q,)
    products: tuple[float, ...]  # (Q,)
    centre: tuple[float, ...]  # (1 + Q,) subtracted from the score and the qualities
    scale: tuple[float, ...]  # (1 + Q,) divisor after that
    lowest: tuple[float, ...]  # (Q,) range of the qualities in fitting
    highest: tuple[float, ...]  # (Q,)

    def __post_init__(self) -> None:
        n = len(self.weights)
        lengths = [len(one) for one in (self.products, self.lowest, self.highest)]
        lengths += [len(one) - 1 for one in (self.centre, self.scale)]
        if lengths != [n] * len(lengths):
            raise ValueError(f"{n} qualities and parameters for {lengths}")
        if not all(one > 0 for one in self.scale) or any(
            low > high for low, high in zip(self.lowest, self.highest, strict=True)
        ):
            raise ValueError("a scale is not above 0, or a lowest quality above the highest")
        if self.least_slope() < 0:
            raise FallingRatio("the likelihood ratio would fall while the score rises")

    def least_slope(self) -> float:
        """Minimum slope over the range of the qualities: at a corner, since it is linear in them."""
        ends = zip(self.products, self._standardise(self.lowest), self._standardise(self.highest), strict=True)
        return self.slope + sum(min(product * low, product * high) for product, low, high in ends)

    def apply(self, scores: np.ndarray, qualities: np.ndarray) -> np.ndarray:
        """(N,) log10 LR of scores (N,) with qualities (N, Q)."""
        clipped = np.clip(qualities, self.lowest, self.highest)
        score = (scores - self.centre[0]) / self.scale[0]
        standardised = (clipped - np.array(self.centre[1:])) / np.array(self.scale[1:])
        llrs: np.ndarray = self.intercept + standardised @ np.array(self.weights, np.float64)
        return llrs + score * (self.slope + standardised @ np.array(self.products, np.float64))

    def _standardise(self, values: Sequence[float]) -> list[float]:
        rest = zip(values, self.centre[1:], self.scale[1:], strict=True)
        return [(value - centre) / scale for value, centre, scale in rest]


@dataclass(frozen=True, slots=True)
class Isotonic:
    """log10 LR by linear interpolation between points, constant beyond the outer two."""

    scores: tuple[float, ...]  # (K,) rising
    llrs: tuple[float, ...]  # (K,) never falling

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.llrs) or not self.scores:
            raise ValueError(f"{len(self.scores)} scores for {len(self.llrs)} likelihood ratios")
        if any(b <= a for a, b in zip(self.scores, self.scores[1:], strict=False)):
            raise ValueError("the scores do not rise")
        if any(b < a for a, b in zip(self.llrs, self.llrs[1:], strict=False)):
            raise FallingRatio("the likelihood ratio would fall while the score rises")

    def apply(self, scores: np.ndarray, qualities: np.ndarray) -> np.ndarray:
        """(N,) log10 LR of scores (N,); qualities are ignored."""
        return np.interp(scores, self.scores, self.llrs)
