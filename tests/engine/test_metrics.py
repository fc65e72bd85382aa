"""Metrics against values worked out by hand."""

import numpy as np
import pytest
from lir import metrics as lir_metrics
from lir.data.models import LLRData

from engine.metrics import (
    LN_10,
    Statistic,
    WeightedScores,
    act_dcf,
    auc,
    average_precision,
    bootstrap_interval,
    bootstrap_mean,
    bootstrap_rows,
    cllr,
    cllr_min,
    detection_rate,
    eer,
    min_dcf,
    pool_violators,
    rank_auc,
    rank_hits,
    share_from,
    trace_reliability,
    trace_tippett,
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


def test_equal_distributions_err_in_half_and_separated_ones_never() -> None:
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


def test_detection_threshold_comes_from_impostors() -> None:
    hits, tops = np.array([1, 1, 0, 1]), np.array([0.9, 0.5, 0.8, 0.3])
    unenrolled = np.array([0.1, 0.2, 0.4, 0.6])
    assert detection_rate(hits, tops, unenrolled, 0.0) == 1 / 4  # above 0.6: right, wrong
    assert detection_rate(hits, tops, unenrolled, 0.24) == 1 / 4  # a quarter of them is one, less is none
    assert detection_rate(hits, tops, unenrolled, 0.25) == 2 / 4  # above 0.4
    assert detection_rate(hits, tops, unenrolled, 0.5) == 3 / 4  # above 0.2
    assert detection_rate(hits, tops, unenrolled, 1.0) == 3 / 4
    same = np.full(4, 0.7)  # all scores are equal: to accept one is to accept all
    assert detection_rate(np.full(4, 0.25), same, same, 0.1) == 0.0
    assert detection_rate(np.full(4, 0.25), same, same, 1.0) == 0.25
    for enrolled, unknown in ((tops[:0], unenrolled), (tops, unenrolled[:0])):
        with pytest.raises(ValueError, match="wanted both"):
            detection_rate(hits[: len(enrolled)], enrolled, unknown, 0.1)


def test_impostor_share_is_exact_despite_float_rounding() -> None:
    unenrolled = np.arange(100) / 100
    for n in (1, 7, 29, 57):  # 0.29 * 100 is 28.999999999999996
        just = unenrolled[-n] - 0.005  # n unenrolled are above it
        assert detection_rate(np.ones(1), np.array([just]), unenrolled, n / 100) == 1.0
        assert detection_rate(np.ones(1), np.array([just - 0.01]), unenrolled, n / 100) == 0.0


def test_average_precision_by_hand() -> None:
    # order: real, other, real: precision 1 at recall 1/2, 2/3 at recall 1
    assert average_precision([3, 1], [2]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("statistic", [auc, eer, average_precision])
def test_class_without_scores_is_refused(statistic: Statistic) -> None:
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


def test_undefined_resamples_are_redrawn_up_to_a_limit() -> None:
    groups = ["a", "b", "c"]
    whole = bootstrap_rows(lambda rows: (float(len(set(rows))) if len(set(rows)) == 3 else np.nan,), groups, n=50)
    assert whole == [(3.0, 3.0)]
    with pytest.raises(ValueError, match="only 0 of"):
        bootstrap_rows(lambda rows: (np.nan,), groups, n=50)


def draw_llrs(seed: int, n_same: int = 80, n_different: int = 400, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Log10 LRs that are right: of normals `gap` apart."""
    rng = np.random.default_rng(seed)
    same = np.arange(n_same + n_different) < n_same
    scores = rng.normal(np.where(same, gap, 0.0))
    return (gap * scores - gap**2 / 2) / LN_10, same


def test_cllr_is_one_for_neutral_and_zero_for_perfect_ratios() -> None:
    same = np.array([True, False, False])
    assert cllr(np.zeros(3), same) == pytest.approx(1.0)
    assert cllr(np.array([40.0, -40.0, -40.0]), same) == pytest.approx(0.0, abs=1e-12)
    # LR 3 where it holds: log2(1 + 1/3); LR 1 and 1/3 where not: log2(2), log2(4/3)
    mixed = np.log10([3.0, 1.0, 1 / 3])
    expected = (np.log2(4 / 3) + (1 + np.log2(4 / 3)) / 2) / 2
    assert cllr(mixed, same) == pytest.approx(expected)
    assert cllr(np.array([-400.0, 0.0, 0.0]), same) == pytest.approx((400 * np.log2(10) + 1) / 2)  # and no overflow


def test_cllr_min_of_separated_ratios_is_zero() -> None:
    same = np.array([True, True, False, False])
    assert cllr_min(np.array([-1.0, -2.0, -3.0, -4.0]), same) == 0.0
    assert cllr_min(np.zeros(4), same) == pytest.approx(1.0)
    assert cllr_min(np.array([-1.0, -2.0, 3.0, 4.0]), same) == pytest.approx(1.0)  # the wrong way round
    # 1 | 0 1 | 0 from above: the pool in the middle is one of each, posterior 1/2
    assert cllr_min(np.array([4.0, 2.0, 3.0, 1.0]), same) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_costs_agree_with_lir(seed: int) -> None:
    llrs, same = draw_llrs(seed, gap=0.5 + seed)
    llrs = (1.7 * llrs + 0.3).round(1)  # not right, and with ties
    result = LLRData(features=llrs[:, None], labels=same.astype(int))
    assert cllr(llrs, same) == pytest.approx(lir_metrics.cllr(result), abs=1e-12)
    assert cllr_min(llrs, same) == pytest.approx(lir_metrics.cllr_min(result), abs=1e-12)


def test_weights_count_a_trial_as_often_as_if_it_stood_there() -> None:
    llrs, same = draw_llrs(3, 20, 60)
    counts = np.random.default_rng(0).integers(0, 4, 80)
    again, kind = np.repeat(llrs, counts), np.repeat(same, counts)
    assert cllr(llrs, same, counts) == pytest.approx(cllr(again, kind), abs=1e-12)
    assert cllr_min(llrs, same, counts) == pytest.approx(cllr_min(again, kind), abs=1e-12)
    assert act_dcf(llrs, same, 0.05, counts) == pytest.approx(act_dcf(again, kind, 0.05), abs=1e-12)
    assert share_from(llrs, ~same, 0.3, counts) == pytest.approx(share_from(again, ~kind, 0.3), abs=1e-12)
    for figure in (cllr, cllr_min):
        assert np.isnan(figure(llrs, same, np.where(same, 1, 0)))
    assert np.isnan(act_dcf(llrs, same, 0.05, np.where(same, 0, 1)))
    assert np.isnan(share_from(llrs, same, 0.0, np.where(same, 0, 1)))


def test_the_bayes_threshold_is_where_right_ratios_cost_least() -> None:
    llrs, same = draw_llrs(0, 4000, 8000)
    for target in (0.5, 0.05):
        least = min_dcf(llrs[same], llrs[~same], target)
        assert least <= act_dcf(llrs, same, target) < 1.06 * least
        assert act_dcf(llrs + 2, same, target) > 1.5 * least  # ratios a hundred times too large
    # the threshold at 0.05 is LR 19: one of two is missed, one of four accepted
    by_hand = np.log10([20.0, 18.0, 19.5, 1.0, 1.0, 1.0])
    kind = np.array([True, True, False, False, False, False])
    assert act_dcf(by_hand, kind, 0.05) == pytest.approx((0.05 * 0.5 + 0.95 * 0.25) / 0.05)


def test_right_ratios_mislead_as_seldom_as_they_say() -> None:
    llrs, same = draw_llrs(1, 20_000, 20_000, gap=1.5)
    for k in (2, 10, 100):
        assert share_from(llrs, ~same, np.log10(k)) <= 1 / k
        assert share_from(-llrs, same, np.log10(k)) <= 1 / k
    assert share_from(np.array([1.0, 0.99, 1.0]), np.array([True, True, False]), 1.0) == 0.5  # the bound belongs to it


def test_pooling_never_falls_and_is_the_share_in_each_pool() -> None:
    same = np.array([False, True, False, True, True])
    posterior, places = pool_violators(np.array([1.0, 2.0, 3.0, 4.0, 4.0]), same, np.ones(5))
    assert posterior[places] == pytest.approx([0, 0.5, 0.5, 1, 1])


def test_tippett_curves_fall_from_one_and_count_what_is_at_least_so_high() -> None:
    found = trace_tippett(np.array([0.0, 1.0, -1.0, 0.0]), np.array([True, True, False, False]))
    assert found.llrs.tolist() == [-1, 0, 1]
    assert found.same.tolist() == [1, 1, 0.5]
    assert found.different.tolist() == [1, 0.5, 0]
    with pytest.raises(ValueError, match="both hypotheses"):
        trace_tippett(np.zeros(2), np.array([True, True]))


def test_right_ratios_lie_on_the_diagonal_of_a_reliability_plot_and_wrong_ones_do_not() -> None:
    llrs, same = draw_llrs(2, 20_000, 20_000)
    found = trace_reliability(llrs, same)
    assert found.counts.sum() == 40_000 and len(found.said) == 10
    assert np.abs(found.said - found.found).max() < 0.03
    wrong = trace_reliability(llrs + 1, same)
    assert (wrong.said - wrong.found).max() > 0.3
    with pytest.raises(ValueError, match="both hypotheses"):
        trace_reliability(np.zeros(2), np.array([False, False]))


def test_misses_of_a_search_and_the_axes_of_a_det_plot() -> None:
    curve = WeightedScores([5, 4, 3, 2, 1, 0], [True, True, False, True, False, False]).trace()
    assert curve is not None
    assert (curve.fnir(0.0), curve.fnir(0.34), curve.fnir(1.0)) == (pytest.approx(1 / 3), 0.0, 0.0)
    accepted, refused = curve.trace_det()
    assert len(accepted) == 1  # at the third threshold alone, neither error is 0 or 1
    assert (accepted[0], refused[0]) == pytest.approx((-0.4307, -0.4307), abs=1e-4)  # of a third
