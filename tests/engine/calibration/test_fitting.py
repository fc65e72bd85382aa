"""Calibrators recovered from drawn scores, refused for too few trials; LR bounds by hand, against lir and by people."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from lir.algorithms.bayeserror import elub
from lir.algorithms.invariance_bounds import calculate_invariance_bounds

from engine.calibration.calibrators import Isotonic, Logistic
from engine.calibration.fitting import (
    STEP,
    bound_by_invariance,
    bound_by_utility,
    find_bounds,
    find_length_bounds,
    fit,
    fit_isotonic,
    fit_logistic,
)
from engine.calibration.records import CalibratorKind
from engine.calibration.trials import ScoredTrials
from engine.errors import Code
from engine.metrics import LN_10, cllr
from tests.engine.calibration.drawn import draw_trials
from tests.raising import raises


def without_qualities(trials: ScoredTrials) -> ScoredTrials:
    return replace(trials, quality_names=(), qualities=np.zeros((len(trials), 0)))


def test_the_ratio_of_two_normals_is_found_again() -> None:
    trials = without_qualities(draw_trials(80, 6, gap=2.0))
    found, names = fit_logistic(trials)
    scores = np.linspace(-1, 3, 9)
    truth = (2 * scores - 2) / LN_10
    assert names == ()
    assert found.apply(scores, np.zeros((9, 0))) == pytest.approx(truth, abs=0.15)


def test_both_hypotheses_weigh_the_same_however_many_trials_each_has() -> None:
    trials = without_qualities(draw_trials(60, 4, gap=2.0))
    few = trials.take(np.flatnonzero(trials.same | (np.arange(len(trials)) % 5 == 0)))
    scores, none = np.linspace(0, 2, 5), np.zeros((5, 0))
    assert fit_logistic(few)[0].apply(scores, none) == pytest.approx(
        fit_logistic(trials)[0].apply(scores, none), abs=0.15
    )


def test_longer_clips_weigh_more_where_they_discriminate_better() -> None:
    trials = draw_trials(60, 4, gap=2.5, growth=2.0)
    with_length, without = fit(trials), fit(without_qualities(trials))
    assert with_length.qualities == trials.quality_names
    assert isinstance(with_length.parameters, Logistic) and with_length.parameters.products[0] > 0.05
    assert (
        cllr(with_length.llrs(trials), trials.same) < cllr(without.llrs(without_qualities(trials)), trials.same) - 0.01
    )


def test_a_quality_that_hardly_varies_is_left_out() -> None:
    trials = draw_trials()
    level = replace(trials, qualities=2 + 0.01 * trials.qualities)
    assert fit(level).qualities == ()


def test_quality_cannot_reverse_the_ratio() -> None:
    trials = draw_trials(30, 4, gap=3.0)
    # long clips score the wrong way round: the product would fall at its far end, so it must go
    turned = np.where(trials.qualities[:, 0] > 2.5, -trials.scores, trials.scores)
    found, names = fit_logistic(replace(trials, scores=turned))
    assert found.least_slope() >= 0 and names == trials.quality_names and found.products == (0.0,)


def test_reversed_scores_give_neutral_ratios() -> None:
    trials = draw_trials()
    wrong = fit(replace(trials, scores=-trials.scores))
    assert wrong.qualities == () and (wrong.llrs(trials) == 0).all()


def test_separated_scores_give_finite_bounded_ratios() -> None:
    trials = draw_trials(gap=40.0)
    for kind in CalibratorKind:
        more = trials if kind == CalibratorKind.LOGISTIC else draw_trials(40, 4, gap=40.0)
        found = fit(more, kind)
        llrs = found.llrs(more)
        assert np.isfinite(llrs).all()
        n_same = len({tuple(pair) for pair in more.people[more.same]})
        assert -np.log10(n_same + 1) <= llrs.min() < -1 and 1 < llrs.max() <= np.log10((~more.same).sum() + 1)


def test_isotonic_pools_violators_and_ignores_qualities() -> None:
    trials = draw_trials(40, 6, gap=2.0)
    found = fit(trials, CalibratorKind.ISOTONIC)
    assert isinstance(found.parameters, Isotonic) and found.qualities == ()
    scores = np.linspace(-0.5, 2.5, 7)
    truth = (2 * scores - 2) / LN_10
    assert found.parameters.apply(scores, np.zeros((7, 0))) == pytest.approx(truth, abs=0.35)


def test_isotonic_by_hand() -> None:
    plain = draw_trials()
    rows = np.r_[np.flatnonzero(plain.same)[:2], np.flatnonzero(~plain.same)[:2]]
    trials = replace(plain.take(rows), scores=np.array([4.0, 2.0, 3.0, 1.0]))
    found = fit_isotonic(trials)  # 1: different alone; 2 and 3: one of each; 4: same alone, with half a trial lent
    assert found.scores == (1.0, 2.0, 3.0, 4.0)
    assert found.llrs == pytest.approx((-np.log10(3), 0, 0, np.log10(3)))


def test_the_same_trials_give_the_same_parameters_to_the_last_digit() -> None:
    for kind in CalibratorKind:
        assert fit(draw_trials(40, 4), kind).parameters == fit(draw_trials(40, 4), kind).parameters


@pytest.mark.parametrize("kind", CalibratorKind)
def test_too_few_trials_or_people_are_refused_with_what_was_found(kind: CalibratorKind) -> None:
    trials = draw_trials(6, 3)
    few = trials.take(np.flatnonzero(~trials.same | (np.cumsum(trials.same) <= 9)))
    with raises(Code.BAD_SCORES, match="There are 9 "):
        fit(few, kind)
    alone = replace(draw_trials(60, 4), people=np.full((len(draw_trials(60, 4)), 2), "ada"))
    with raises(Code.BAD_SCORES, match="of 1 people"):
        fit(alone, kind)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log10 LRs of every quality: from worthless to fully separated, calibrated or twice too strong."""
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


def test_bounds_of_separated_ratios_grow_with_trials() -> None:
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


def test_uninformative_ratios_are_one() -> None:
    rng = np.random.default_rng(0)
    llrs, same = rng.normal(size=400) * 3, np.arange(400) < 200  # strong ratios without evidence
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


def test_bounds_of_a_length_come_from_its_trials_and_longer_speech_has_no_narrower_ones() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(800) % 2 == 0
    llrs = np.where(same, 1, -1) * rng.normal(1.5, 0.8, 800)
    people = np.array([[f"p{row % 40}", f"p{row % 40}" if row % 2 == 0 else f"p{row // 2 % 41}"] for row in range(800)])
    speech_s = np.repeat([2.0, 3.0, 7.0, 12.0], 200)
    weak = np.where(speech_s < 2.5, llrs / 10, llrs)
    found = find_length_bounds(weak, same, people, speech_s)
    assert [(one.from_s, one.to_s) for one in found] == [(1.5, 2.5), (2.5, 4.0), (4.0, 6.0), (6.0, 10.0), (10.0, None)]
    rows = speech_s == 2.0
    own = find_bounds(weak[rows], same[rows], people[rows])
    assert (found[0].lower_llr, found[0].upper_llr) == (own.lower_llr, own.upper_llr)
    assert found[0].upper_llr < 0.5 < 1 < found[1].upper_llr
    assert (found[2].lower_llr, found[2].upper_llr) == (found[1].lower_llr, found[1].upper_llr)  # without trials
    for one, longer in pairwise(found):
        assert longer.lower_llr <= one.lower_llr and longer.upper_llr >= one.upper_llr


def test_lengths_shorter_than_every_trial_have_no_bounds_and_so_no_ratio() -> None:
    trials = draw_trials()
    fitted = fit(trials)
    assert fitted.by_length[0].from_s == 4.0 and trials.speech_s is not None and trials.speech_s.min() >= 4
    short = replace(trials, qualities=np.full((len(trials), 1), np.log(2.0)))
    assert not fitted.llrs(short).any() and fitted.llrs(trials).any()
