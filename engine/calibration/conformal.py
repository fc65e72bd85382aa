"""How strange a clip is beside real ones: p-values that hold for any number of real clips, and need no others.

Split conformal (Vovk, Gammerman and Shafer 2005): of n real clips and one more that is exchangeable with them, the
chance that its p-value is at most a is at most a, whatever scores are like. Mondrian: among clips of about one length.
Clips of one person are not exchangeable with those of others, so each person gives one score to a stratum.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from engine.calibration.records import Conformal, Stratum

EDGES_S = (4.0, 6.0, 10.0)  # seconds of speech at which strata begin; the last has no end


def fit_conformal(
    scores: np.ndarray, seconds: np.ndarray, people: np.ndarray, seed: int = 0, edges_s: Sequence[float] = EDGES_S
) -> Conformal:
    """Keep for each stratum one score (N,) of each person (N,), drawn by the seed, by seconds (N,) of speech."""
    if not edges_s or any(later <= earlier for earlier, later in pairwise(edges_s)):
        raise ValueError(f"strata from {edges_s} seconds, wanted rising numbers")
    ends: list[float | None] = [*edges_s[1:], None]
    rng = np.random.default_rng(seed)
    strata = []
    for start, end in zip(edges_s, ends, strict=True):
        inside = (seconds >= start) & (seconds < (np.inf if end is None else end))
        chosen = [rng.choice(np.flatnonzero(inside & (people == name))) for name in np.unique(people[inside])]
        strata.append(Stratum(start, end, tuple(sorted(float(scores[row]) for row in chosen))))
    return Conformal(tuple(strata))


def tell_p(conformal: Conformal, score: float, seconds: float) -> float | None:
    """Chance of so low a score or a lower one from a real clip; None below the first stratum.

    It is (1 + the scores of the stratum that are no higher) / (n + 1), never less than the stratum's `smallest_p`;
    1 in a stratum without a clip.
    """
    stratum = find_stratum(conformal, seconds)
    if stratum is None:
        return None
    return (1 + sum(one <= score for one in stratum.scores)) / (len(stratum.scores) + 1)


def find_stratum(conformal: Conformal, seconds: float) -> Stratum | None:
    """Give the stratum of a clip with so many seconds of speech."""
    for stratum in conformal.strata:
        if seconds >= stratum.from_s and (stratum.to_s is None or seconds < stratum.to_s):
            return stratum
    return None
