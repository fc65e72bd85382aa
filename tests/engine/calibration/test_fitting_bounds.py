"""Bounds by hand, against the package lir, and by the number of people."""

import numpy as np
import pytest
from lir.algorithms.bayeserror import elub
from lir.algorithms.invariance_bounds import calculate_invariance_bounds

from engine.calibration.fitting import STEP, bound_by_invariance, bound_by_utility, find_bounds
from engine.metrics import LN_10


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log10 LRs of every quality: from worthless to parted, right or twice too strong."""
    rng = np.random.default_rng(seed)
    n_same, n_different = (int(n) for n in rng.integers((30, 50), (200, 900)))
    same, gap = np.arange(n_same + n_different) < n_same, 0.2 + 0.6 * seed
    scores = rng.normal(np.where(same, gap, 0.0))
    return (gap * scores - gap**2 / 2) / LN_10 * (1 + seed % 2), same


@pytest.mark.parametrize("seed", range(9))
def test_both_methods_agree_with_lir(seed: int) -> None:
    llrs, same = draw(seed)
    assert bound_by_utility(llrs, same) == pytest.approx(elub(llrs.copy(), same.astype(int)), abs=1e-9)
    theirs = np.log10(calculate_invariance_bounds(10**llrs, same.astype(int))[:2])
    assert bound_by_invariance(llrs, same) == pytest.approx(theirs, abs=0.01)  # grids differ


def test_parted_ratios_go_as_far_as_there_are_trials() -> None:
    llrs, same = np.array([50.0] * 9 + [-50.0] * 99), np.arange(108) < 9
    lower, upper = bound_by_utility(llrs, same)
    # with one misleading trial on either side: 1/10 + t / 100 is at most 1 up to t = 90, and so on below
    assert upper == pytest.approx(np.log10(90), abs=STEP) and lower == pytest.approx(-np.log10(9.9), abs=STEP)


def test_one_strong_mistake_narrows_the_side_that_it_is_on() -> None:
    llrs, same = draw(6)
    lower, upper = bound_by_utility(llrs, same)
    worse = llrs.copy()
    worse[np.flatnonzero(~same)[:3]] = 6.0
    assert bound_by_utility(worse, same)[1] < upper - 0.2
    assert bound_by_invariance(worse, same)[1] < bound_by_invariance(llrs, same)[1] - 0.2
    assert bound_by_utility(worse, same)[0] == pytest.approx(lower, abs=0.1)


def test_worthless_ratios_are_all_one() -> None:
    rng = np.random.default_rng(0)
    llrs, same = rng.normal(size=400) * 3, np.arange(400) < 200  # strong words that mean nothing
    found = find_bounds(llrs, same, np.array([[f"{row}", f"{row}"] for row in range(400)]))
    assert found.lower_llr == pytest.approx(0, abs=0.1) and found.upper_llr == pytest.approx(0, abs=0.1)


def test_a_thousand_trials_of_the_same_few_people_are_not_a_thousand_people() -> None:
    rng = np.random.default_rng(1)
    same = np.arange(1200) < 200
    llrs = np.where(same, 4.0, -4.0) + rng.normal(size=1200)
    many = np.array([[f"a{row}", f"b{row}"] for row in range(1200)])
    few = np.array([[f"a{row % 5}", f"a{row % 5}" if same[row] else f"b{row % 7}"] for row in range(1200)])
    wide, narrow = find_bounds(llrs, same, many), find_bounds(llrs, same, few)
    assert wide.upper_llr > 2 and wide.lower_llr < -2
    assert narrow.upper_llr == pytest.approx(np.log10(36)) and narrow.lower_llr == pytest.approx(-np.log10(6))
    swapped = np.where(same[:, None], few, few[:, ::-1])  # a face with a voice, or the voice's face with the other
    assert find_bounds(llrs, same, swapped) == narrow


def test_one_hypothesis_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both hypotheses"):
        find_bounds(np.ones(3), np.ones(3, bool), np.full((3, 2), "a"))
