"""How well scores part real clips from others, and how sure that is; higher scores mean real."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

Scores = Sequence[float] | np.ndarray
Statistic = Callable[[Scores, Scores], float]
"""Of the scores of real clips and of the others: `auc`, `eer`, `average_precision`."""

COVERAGE = 0.95


def auc(real: Scores, other: Scores) -> float:
    """Chance that a real clip scores above another one; ties count half. ValueError where either is empty."""
    return float(roc_auc_score(*_join(real, other)))


def rank_auc(real: Scores, other: Scores) -> float:
    """The same by ranks (Mann and Whitney 1947), unchecked: a hundred times as fast, as a thousand resamples need."""
    n_real, n_other = len(real), len(other)
    ranks = rankdata(np.concatenate([real, other]))
    return float((ranks[:n_real].sum() - n_real * (n_real + 1) / 2) / (n_real * n_other))


def eer(real: Scores, other: Scores) -> float:
    """Equal error rate: where as many real clips are refused as others accepted, between thresholds by a line."""
    accepted, found, _ = roc_curve(*_join(real, other), drop_intermediate=False)
    refused = 1 - found  # falls while `accepted` rises
    after = int(np.argmax(accepted >= refused))
    before = max(after - 1, 0)
    gap_before, gap_after = refused[before] - accepted[before], refused[after] - accepted[after]
    share = gap_before / (gap_before - gap_after) if gap_before != gap_after else 0.0
    return float(accepted[before] + share * (accepted[after] - accepted[before]))


def average_precision(real: Scores, other: Scores) -> float:
    """Mean precision over the recall of real clips; it depends on how many others there are."""
    return float(average_precision_score(*_join(real, other)))


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
    found = []
    for rows in _resample(named, np.random.default_rng(seed)):
        drawn, is_real = values[rows], real[rows]
        if 0 < is_real.sum() < len(is_real):
            found.append(statistic(drawn[is_real], drawn[~is_real]))
        if len(found) == n:
            break
    return _percentiles(found)


def bootstrap_mean(values: Scores, groups: Sequence[str], n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean, over `n` resamples of whole groups; ValueError where all are of one group."""
    checked, named = _check(values, groups), np.asarray(groups)
    if len(set(named)) < 2:
        raise ValueError("an interval needs at least two groups")
    draws = _resample(named, np.random.default_rng(seed))
    return _percentiles([float(checked[next(draws)].mean()) for _ in range(n)])


def _resample(groups: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of as many groups as there are, drawn with replacement, without end."""
    _, which = np.unique(groups, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    while True:
        yield np.concatenate([members[group] for group in rng.integers(0, len(members), len(members))])


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


def _percentiles(found: list[float]) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
