"""Held-out metrics: no trial is scored by a fit to its own sources, and calibrated ratios measure as calibrated."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest

from engine.calibration import validation
from engine.calibration.fitting import Fitted
from engine.calibration.records import CalibratorKind, Metric, Policy
from engine.calibration.trials import ScoredTrials
from engine.calibration.validation import FITTED, HeldOutRatios, choose_threshold, cross_validate, measure
from engine.errors import Code
from engine.metrics import LN_10, cllr, cllr_min, eer, min_dcf
from tests.engine.calibration.drawn import draw_search, draw_trials
from tests.raising import raises

POLICY = Policy(0.5, -0.5, 0.05, 0.05)


def find(metrics: tuple[Metric, ...], name: str, condition: str = "all") -> Metric:
    return next(one for one in metrics if (one.name, one.condition) == (name, condition))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[ScoredTrials, ScoredTrials]]]:
    """Validate, and return the training and scored trials of each fit."""
    fit, seen = validation.fit, list[tuple[ScoredTrials, ScoredTrials]]()

    def fit_watched(trials: ScoredTrials, kind: CalibratorKind, qualities: tuple[str, ...] | None) -> object:
        fitted: Fitted = fit(trials, kind, qualities)

        class Watched:
            def llrs(self, judged: ScoredTrials) -> np.ndarray:
                seen.append((trials, judged))
                return fitted.llrs(judged)

        return Watched()

    def validate(trials: ScoredTrials) -> list[tuple[ScoredTrials, ScoredTrials]]:
        seen.clear()
        cross_validate(trials, CalibratorKind.LOGISTIC)
        return seen

    monkeypatch.setattr(validation, "fit", fit_watched)
    return validate


@pytest.mark.parametrize("n_sources", [5, 12])
def test_no_trial_is_judged_by_a_fit_that_saw_either_of_its_sources(watch: Callable, n_sources: int) -> None:
    trials = draw_trials(n_sources, 5)
    seen = watch(trials)
    for fitted_to, judged in seen:
        assert not set(fitted_to.sources.ravel()) & set(judged.sources.ravel())
    assert sum(len(judged) for _, judged in seen) == len(trials)  # and each is judged once
    n_folds = min(n_sources, 10)
    assert len(seen) <= len(list(combinations_with_replacement(range(n_folds), 2)))


def test_people_are_held_out_where_there_are_too_few_sources(watch: Callable) -> None:
    trials = draw_trials(3, 8)
    for fitted_to, judged in watch(trials):
        assert not set(fitted_to.people.ravel()) & set(judged.people.ravel())
    assert cross_validate(trials, CalibratorKind.LOGISTIC).over == "people"
    assert cross_validate(draw_trials(), CalibratorKind.LOGISTIC).over == "sources"


def test_a_calibration_that_knew_the_answers_would_look_better_than_it_is() -> None:
    # each source has a lean of its own that only fits with it in the trials could know: held out, ratios are worse
    trials = draw_trials(8, 3, gap=1.5)
    lean = {name: shift for name, shift in zip(np.unique(trials.sources), np.linspace(-1.5, 1.5, 8), strict=True)}
    leaning = replace(trials, scores=trials.scores + np.array([lean[name] for name in trials.sources[:, 0]]))
    held = cross_validate(leaning, CalibratorKind.LOGISTIC)
    known = validation.fit(leaning, CalibratorKind.LOGISTIC).llrs(leaning)
    assert cllr(held.llrs, leaning.same) > cllr(known, leaning.same) + 0.01


def test_nothing_can_be_held_out_of_three_people() -> None:
    trials = draw_trials(30, 4)
    names = np.array(["a", "b", "c"])[np.unique(trials.people, return_inverse=True)[1].reshape(-1, 2) % 3]
    with raises(Code.BAD_SCORES, match="have 3 people"):
        cross_validate(replace(trials, people=names, sources=names), CalibratorKind.LOGISTIC)


def test_figures_are_those_of_the_ratios_and_lie_within_their_intervals() -> None:
    trials = draw_trials(gap=2.0)
    llrs, same = (2 * trials.scores - 2) / LN_10, trials.same
    found = measure(HeldOutRatios(trials, llrs, "sources"), POLICY, n=200)
    wanted = {
        "cllr": cllr(llrs, same),
        "cllr_min": cllr_min(llrs, same),
        "cllr_cal": cllr(llrs, same) - cllr_min(llrs, same),
        "eer": eer(llrs[same], llrs[~same]),
        "min_dcf_0.05": min_dcf(llrs[same], llrs[~same], 0.05),
        "different_lr_from_10": (llrs[~same] >= 1).mean(),
        "same_lr_to_1/10": (llrs[same] <= -1).mean(),
        "same_supported": (llrs[same] >= 0.5).mean(),
        "different_against": (llrs[~same] <= -0.5).mean(),
        "same_inconclusive": ((llrs[same] > -0.5) & (llrs[same] < 0.5)).mean(),
    }
    for name, value in wanted.items():
        metric = find(found, name)
        assert metric.value == pytest.approx(value)
        assert metric.low is not None and metric.high is not None
        assert name in FITTED or metric.low - 1e-9 <= metric.value <= metric.high + 1e-9, name
        assert metric.over in ("people", "sources")
    assert {one.condition for one in found} == {"all", "4 s", "whole"}
    parts = [find(found, "cllr", name) for name in ("4 s", "whole")]
    assert sum(one.n_same for one in parts) == find(found, "cllr").n_same == same.sum()


def test_the_interval_of_what_calibration_costs_takes_off_what_its_own_fit_adds() -> None:
    # of right ratios it would be 0 with trials without end; with eighty of the same it is always more
    found = []
    for seed in range(5):
        trials = draw_trials(gap=2.0, seed=seed)
        held = HeldOutRatios(trials, (2 * trials.scores - 2) / LN_10, "sources")
        found.append(find(measure(held, POLICY, n=40), "cllr_cal"))
    assert np.mean([one.value for one in found]) > 0.015
    assert sum(one.low == 0 for one in found) >= 4
    off = HeldOutRatios(trials, 2 * held.llrs + 1, "sources")
    assert (find(measure(off, POLICY, n=40), "cllr_cal").low or 0) > 0.04


def test_right_ratios_mislead_no_more_often_than_they_say_within_the_interval() -> None:
    trials = draw_trials(20, 4, gap=2.0)
    llrs = (2 * trials.scores - 2) / LN_10
    found = measure(HeldOutRatios(trials, llrs, "sources"), POLICY, n=100)
    for k in (10, 100):
        low = find(found, f"different_lr_from_{k}").low
        assert low is not None and low <= 1 / k
    wrong = measure(HeldOutRatios(trials, llrs + 1.5, "sources"), POLICY, n=100)
    low = find(wrong, "different_lr_from_10").low
    assert low is not None and low > 1 / 10


def test_zero_rate_has_a_positive_upper_bound() -> None:
    trials = draw_trials(gap=2.0)
    never = find(measure(HeldOutRatios(trials, np.zeros(len(trials)), "sources"), POLICY, n=20), "different_lr_from_10")
    assert (never.value, never.low) == (0.0, 0.0) and never.high == pytest.approx(3 / 36)
    always = find(measure(HeldOutRatios(trials, np.zeros(len(trials)), "sources"), POLICY, n=20), "same_inconclusive")
    assert (always.value, always.high) == (1.0, 1.0) and always.low == pytest.approx(1 - 3 / 36)


def test_wider_of_the_two_intervals_is_reported() -> None:
    # all of a source lean one way: resampling people alone would hide it
    trials = draw_trials(8, 6, gap=2.0)
    lean = dict(zip(np.unique(trials.sources), np.linspace(-2, 2, 8), strict=True))
    llrs = (2 * trials.scores - 2) / LN_10 + np.array([lean[name] for name in trials.sources[:, 0]])
    leaning = find(measure(HeldOutRatios(trials, llrs, "sources"), POLICY, n=200), "cllr")
    apart = replace(trials, sources=trials.people)
    people = find(measure(HeldOutRatios(apart, llrs, "people"), POLICY, n=200), "cllr")
    assert leaning.over == "sources" and people.over == "people"
    assert None not in (leaning.low, leaning.high, people.low, people.high)
    assert leaning.high - leaning.low > 1.2 * (people.high - people.low)  # type: ignore[operator]


def test_only_searches_report_misses_at_false_alarm_rates() -> None:
    trials = draw_search()
    llrs = trials.scores / 3
    found = measure(HeldOutRatios(trials, llrs, "people"), POLICY, n=20)
    top = np.sort(llrs[~trials.same])[::-1]
    for fpir in (0.01, 0.1):
        threshold = top[int(fpir * len(top))]
        assert find(found, f"fnir_at_fpir_{fpir:g}").value == pytest.approx((llrs[trials.same] <= threshold).mean())
    plain = measure(HeldOutRatios(draw_trials(), draw_trials().scores, "people"), POLICY, n=20)
    assert not any(one.name.startswith("fnir") for one in plain)


def test_figures_are_the_same_for_the_same_seed() -> None:
    held = cross_validate(draw_trials(), CalibratorKind.LOGISTIC, seed=3)
    assert (held.llrs == cross_validate(draw_trials(), CalibratorKind.LOGISTIC, seed=3).llrs).all()
    assert measure(held, POLICY, seed=3, n=20) == measure(held, POLICY, seed=3, n=20)
    assert measure(held, POLICY, seed=3, n=20) != measure(held, POLICY, seed=4, n=20)


def test_threshold_keeps_error_rate_below_target() -> None:
    llrs = np.arange(99) / 10
    for rate, n_over in ((0.01, 0), (0.02, 1), (0.05, 4), (0.5, 49)):
        threshold = choose_threshold(llrs, rate)
        assert (llrs >= threshold).sum() == n_over and (n_over + 1) / 100 <= rate
    assert choose_threshold(llrs, 0.009) == np.inf  # 99 trials cannot back less than 1 in 100
    assert choose_threshold(np.zeros(50), 0.3) > 0  # ties are let through together or not at all
    rng = np.random.default_rng(0)
    shares = [(rng.normal(size=500) >= choose_threshold(rng.normal(size=60), 0.1)).mean() for _ in range(400)]
    assert np.mean(shares) <= 0.1
