"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from engine.metrics import Statistic, auc, average_precision, bootstrap_interval, bootstrap_mean, eer, rank_auc


def test_auc_counts_the_pairs_in_order_and_half_the_ties() -> None:
    # pairs: 3>2, 3>1, 2=2 (half), 2>1
    assert auc([3, 2], [2, 1]) == pytest.approx(3.5 / 4)
    assert auc([1, 2], [3, 4]) == 0.0
    assert auc([5], [1, 2, 3]) == 1.0


def test_auc_by_ranks_is_the_same() -> None:
    rng = np.random.default_rng(0)
    for n_real, n_other in ((1, 1), (5, 20), (40, 3)):
        real, other = rng.integers(0, 9, n_real), rng.integers(0, 8, n_other)  # many ties
        assert rank_auc(real, other) == pytest.approx(auc(real, other), abs=1e-12)


def test_eer_is_where_both_errors_are_equal() -> None:
    # threshold 3: one of four real is refused, one of four others accepted
    assert eer([2, 4, 5, 6], [0, 0.5, 1, 3]) == pytest.approx(0.25)
    assert eer([2, 3], [0, 1]) == 0.0
    assert eer([0, 1], [2, 3]) == 1.0
    assert eer([1, 1, 1], [1, 1]) == pytest.approx(0.5)


def test_eer_lies_between_two_thresholds() -> None:
    # at 3: refused 2/3, accepted 1/2; at 2: refused 1/3, accepted 1/2
    assert eer([4, 2, 1.5], [3, 1]) == pytest.approx(1 / 2)
    # at 2.5: refused 1/2, accepted 1/3; at 2: refused 0, accepted 2/3; the line between is level at a fifth of it
    assert eer([3, 2], [2.5, 2, 1]) == pytest.approx(0.4)


def test_average_precision_by_hand() -> None:
    # order: real, other, real: precision 1 at recall 1/2, 2/3 at recall 1
    assert average_precision([3, 1], [2]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("statistic", [auc, eer, average_precision])
def test_a_side_without_scores_is_refused_with_words(statistic: Statistic) -> None:
    with pytest.raises(ValueError, match="no scores of other clips"):
        statistic([1.0], [])
    with pytest.raises(ValueError, match="no scores of real clips"):
        statistic([], [1.0])
    with pytest.raises(ValueError, match="finite"):
        statistic([float("nan")], [1.0])


def draw(seed: int, n: int, shift: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(shift, 1, n), rng.normal(0, 1, n)])
    return scores, np.arange(2 * n) < n, [str(i) for i in range(2 * n)]


def test_the_interval_holds_the_truth_in_most_experiments() -> None:
    truth = 0.760  # AUC of two normals of spread 1, one apart: Phi(1 / sqrt 2)
    intervals = [bootstrap_interval(rank_auc, *draw(seed, 40, 1.0), n=100, seed=seed) for seed in range(25)]
    assert sum(low <= truth <= high for low, high in intervals) >= 21
    assert all(low < high for low, high in intervals)


def test_clips_of_one_person_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(20), 10)
    scores = rng.normal(0, 1, 20)[people] + (people < 10) + rng.normal(0, 0.1, 200)
    labels, apart = people < 10, [str(i) for i in range(200)]
    low, high = bootstrap_interval(rank_auc, scores, labels, [str(person) for person in people], n=100)
    narrow = bootstrap_interval(rank_auc, scores, labels, apart, n=100)
    assert high - low > 2 * (narrow[1] - narrow[0])


def test_the_interval_is_seeded() -> None:
    sample = draw(0, 20, 1.0)
    assert bootstrap_interval(rank_auc, *sample, n=50, seed=1) == bootstrap_interval(rank_auc, *sample, n=50, seed=1)
    assert bootstrap_interval(rank_auc, *sample, n=50, seed=1) != bootstrap_interval(rank_auc, *sample, n=50, seed=2)


def test_an_interval_over_one_group_is_refused() -> None:
    with pytest.raises(ValueError, match="real clips of at least two groups"):
        bootstrap_interval(rank_auc, [1, 2, 3, 4], [True, True, False, False], ["a", "a", "b", "c"])
    with pytest.raises(ValueError, match="other clips of at least two groups"):
        bootstrap_interval(rank_auc, [1, 2], [True, True], ["a", "b"])
    with pytest.raises(ValueError, match="2 groups for values"):
        bootstrap_interval(rank_auc, [1, 2, 3], [True, True, False], ["a", "b"])
    with pytest.raises(ValueError, match="1 labels for 2 scores"):
        bootstrap_interval(rank_auc, [1, 2], [True], ["a", "b"])


def test_the_mean_of_groups() -> None:
    low, high = bootstrap_mean([0, 0, 1, 1], ["a", "a", "b", "b"], n=500)
    assert (low, high) == (0.0, 1.0)  # a quarter of the resamples are twice one group
    low, high = bootstrap_mean([0, 1] * 50, [str(i) for i in range(100)])
    assert low == pytest.approx(0.4, abs=0.03) and high == pytest.approx(0.6, abs=0.03)
    with pytest.raises(ValueError, match="two groups"):
        bootstrap_mean([1, 2], ["a", "a"])
