"""Figures of likelihood ratios: by hand, against the package lir, and of ratios that are known to be right."""

import numpy as np
import pytest
from lir import metrics as lir_metrics
from lir.data.models import LLRData

from engine.metrics import (
    LN_10,
    WeightedScores,
    act_dcf,
    cllr,
    cllr_min,
    min_dcf,
    pool_violators,
    share_from,
    trace_reliability,
    trace_tippett,
)


def draw(seed: int, n_same: int = 80, n_different: int = 400, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Log10 LRs that are right: of normals `gap` apart."""
    rng = np.random.default_rng(seed)
    same = np.arange(n_same + n_different) < n_same
    scores = rng.normal(np.where(same, gap, 0.0))
    return (gap * scores - gap**2 / 2) / LN_10, same


def test_saying_nothing_costs_one_bit_and_saying_the_truth_costs_none() -> None:
    same = np.array([True, False, False])
    assert cllr(np.zeros(3), same) == pytest.approx(1.0)
    assert cllr(np.array([40.0, -40.0, -40.0]), same) == pytest.approx(0.0, abs=1e-12)
    # LR 3 where it holds: log2(1 + 1/3); LR 1 and 1/3 where not: log2(2), log2(4/3)
    mixed = np.log10([3.0, 1.0, 1 / 3])
    expected = (np.log2(4 / 3) + (1 + np.log2(4 / 3)) / 2) / 2
    assert cllr(mixed, same) == pytest.approx(expected)
    assert cllr(np.array([-400.0, 0.0, 0.0]), same) == pytest.approx((400 * np.log2(10) + 1) / 2)  # and no overflow


def test_the_best_calibration_of_parted_ratios_costs_nothing_whatever_they_say() -> None:
    same = np.array([True, True, False, False])
    assert cllr_min(np.array([-1.0, -2.0, -3.0, -4.0]), same) == 0.0
    assert cllr_min(np.zeros(4), same) == pytest.approx(1.0)
    assert cllr_min(np.array([-1.0, -2.0, 3.0, 4.0]), same) == pytest.approx(1.0)  # the wrong way round
    # 1 | 0 1 | 0 from above: the pool in the middle is one of each, posterior 1/2
    assert cllr_min(np.array([4.0, 2.0, 3.0, 1.0]), same) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_costs_agree_with_lir(seed: int) -> None:
    llrs, same = draw(seed, gap=0.5 + seed)
    llrs = (1.7 * llrs + 0.3).round(1)  # not right, and with ties
    told = LLRData(features=llrs[:, None], labels=same.astype(int))
    assert cllr(llrs, same) == pytest.approx(lir_metrics.cllr(told), abs=1e-12)
    assert cllr_min(llrs, same) == pytest.approx(lir_metrics.cllr_min(told), abs=1e-12)


def test_weights_count_a_trial_as_often_as_if_it_stood_there() -> None:
    llrs, same = draw(3, 20, 60)
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
    llrs, same = draw(0, 4000, 8000)
    for target in (0.5, 0.05):
        least = min_dcf(llrs[same], llrs[~same], target)
        assert least <= act_dcf(llrs, same, target) < 1.06 * least
        assert act_dcf(llrs + 2, same, target) > 1.5 * least  # ratios a hundred times too large
    # the threshold at 0.05 is LR 19: one of two is missed, one of four accepted
    by_hand = np.log10([20.0, 18.0, 19.5, 1.0, 1.0, 1.0])
    kind = np.array([True, True, False, False, False, False])
    assert act_dcf(by_hand, kind, 0.05) == pytest.approx((0.05 * 0.5 + 0.95 * 0.25) / 0.05)


def test_right_ratios_mislead_as_seldom_as_they_say() -> None:
    llrs, same = draw(1, 20_000, 20_000, gap=1.5)
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
    llrs, same = draw(2, 20_000, 20_000)
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
