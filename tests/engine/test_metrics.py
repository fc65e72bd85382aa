"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from engine.metrics import (
    Statistic,
    WeightedScores,
    auc,
    average_precision,
    bootstrap_interval,
    bootstrap_mean,
    bootstrap_rows,
    detection_rate,
    eer,
    min_dcf,
    rank_auc,
    rank_hits,
)


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


def test_the_least_cost_by_hand() -> None:
    # thresholds from above: refused 1, 1/2, 1/2, 0 against accepted 0, 0, 1/4, 1/4, then more
    real, other = [5, 3], [4, 2, 1, 0]
    # P 0.05: min(0.05, 0.025, 0.95 / 4) over 0.05
    assert min_dcf(real, other, 0.05) == pytest.approx(0.5)
    # P 0.5: min(0.5, 0.25, 0.25 + 0.125, 0.125) over 0.5
    assert min_dcf(real, other, 0.5) == pytest.approx(0.25)
    assert min_dcf([2, 3], [0, 1], 0.01) == 0.0
    assert min_dcf([1, 1], [1, 1, 1], 0.01) == min_dcf([0, 1], [2, 3], 0.05) == 1.0  # as good as not listening
    # refusing one real of a hundred costs 0.05 / 100, accepting one other of a hundred 0.95 / 100
    many = list(range(1, 100))
    assert min_dcf([101] * 99 + [0], [1] * 100, 0.05) == pytest.approx(0.01)
    assert min_dcf([101] * 100, [*many, 102], 0.05) == pytest.approx(0.19)


def test_weights_count_a_score_as_often_as_if_it_stood_there() -> None:
    rng = np.random.default_rng(1)
    scores, real = rng.integers(0, 6, 60).astype(float), np.arange(60) < 25  # many ties
    trials = WeightedScores(scores, real)
    for _ in range(20):
        counts = rng.integers(0, 4, 60)
        again, kind = np.repeat(scores, counts), np.repeat(real, counts)
        curve = trials.trace(counts)
        assert curve is not None
        assert curve.auc() == pytest.approx(auc(again[kind], again[~kind]), abs=1e-12)
        assert curve.eer() == pytest.approx(eer(again[kind], again[~kind]), abs=1e-12)
        assert curve.min_dcf(0.05) == pytest.approx(min_dcf(again[kind], again[~kind], 0.05), abs=1e-12)
    assert trials.trace(np.where(real, 1, 0)) is None and trials.trace(np.where(real, 0, 1)) is None


def test_equal_distributions_err_in_half_and_parted_ones_never() -> None:
    rng = np.random.default_rng(2)
    found = [eer(rng.normal(size=400), rng.normal(size=900)) for _ in range(20)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.01) and np.ptp(found) < 0.15
    for _ in range(20):
        edge = rng.normal()
        low, high = edge - rng.random(30) - 1e-9, edge + rng.random(5)
        assert (eer(high, low), min_dcf(high, low, 0.01), auc(high, low)) == (0.0, 0.0, 1.0)


def test_the_eer_of_two_normals_is_known() -> None:
    rng = np.random.default_rng(4)  # two apart with spread 1: Phi(-1)
    assert eer(rng.normal(2, 1, 20_000), rng.normal(0, 1, 20_000)) == pytest.approx(0.1587, abs=0.006)


def test_ranks_share_ties_fairly() -> None:
    scores = np.array([[3, 2, 1], [2, 3, 1], [1, 2, 3], [1, 1, 1], [1, 2, 1], [np.nan, 2, 2]], float)
    truth = np.array([0, 0, 0, 0, 0, 2])
    assert rank_hits(scores, truth, 1) == pytest.approx([1, 0, 0, 1 / 3, 0, 1 / 2])
    assert rank_hits(scores, truth, 2) == pytest.approx([1, 1, 0, 2 / 3, 1 / 2, 1])
    assert rank_hits(scores, truth, 3) == pytest.approx([1] * 6)
    assert rank_hits(np.zeros((4, 20)), np.arange(4), 5) == pytest.approx([0.25] * 4)
    with pytest.raises(ValueError, match="not among the candidates"):
        rank_hits(scores, np.array([0, 0, 0, 0, 0, 0]), 1)


def test_detection_waits_for_the_threshold_that_strangers_set() -> None:
    hits, tops = np.array([1, 1, 0, 1]), np.array([0.9, 0.5, 0.8, 0.3])
    strangers = np.array([0.1, 0.2, 0.4, 0.6])
    assert detection_rate(hits, tops, strangers, 0.0) == 1 / 4  # above 0.6: right, wrong
    assert detection_rate(hits, tops, strangers, 0.24) == 1 / 4  # a quarter of them is one stranger, less is none
    assert detection_rate(hits, tops, strangers, 0.25) == 2 / 4  # above 0.4
    assert detection_rate(hits, tops, strangers, 0.5) == 3 / 4  # above 0.2
    assert detection_rate(hits, tops, strangers, 1.0) == 3 / 4
    same = np.full(4, 0.7)  # nobody stands out: to believe one is to believe all
    assert detection_rate(np.full(4, 0.25), same, same, 0.1) == 0.0
    assert detection_rate(np.full(4, 0.25), same, same, 1.0) == 0.25
    for enrolled, unknown in ((tops[:0], strangers), (tops, strangers[:0])):
        with pytest.raises(ValueError, match="wanted both"):
            detection_rate(hits[: len(enrolled)], enrolled, unknown, 0.1)


def test_a_share_of_strangers_that_floats_cannot_write_is_that_share() -> None:
    strangers = np.arange(100) / 100
    for n in (1, 7, 29, 57):  # 0.29 * 100 is 28.999999999999996
        just = strangers[-n] - 0.005  # above it stand n strangers
        assert detection_rate(np.ones(1), np.array([just]), strangers, n / 100) == 1.0
        assert detection_rate(np.ones(1), np.array([just - 0.01]), strangers, n / 100) == 0.0


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


def test_figures_of_one_resample_belong_together() -> None:
    values, groups = np.arange(12.0), [str(i // 2) for i in range(12)]
    both = bootstrap_rows(lambda rows: (values[rows].mean(), -values[rows].mean()), groups, n=300)
    assert both[0] == pytest.approx((-both[1][1], -both[1][0]))
    assert both[0] == bootstrap_mean(values, groups, n=300)


def test_resamples_without_a_word_are_drawn_anew_and_endless_silence_is_refused() -> None:
    groups = ["a", "b", "c"]
    whole = bootstrap_rows(lambda rows: (float(len(set(rows))) if len(set(rows)) == 3 else np.nan,), groups, n=50)
    assert whole == [(3.0, 3.0)]
    with pytest.raises(ValueError, match="only 0 of"):
        bootstrap_rows(lambda rows: (np.nan,), groups, n=50)
