"""Release rules: each one refuses alone, and a missing metric breaks its rule."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.calibration.files import APPROVER, approve_by_rules, find_broken_rules
from engine.calibration.records import Calibration, CalibrationStatus, seal
from engine.errors import Code
from tests.engine.calibration.drawn import draw_trials, make_record
from tests.raising import raises

Change = Callable[[Calibration], Calibration]


@pytest.fixture(scope="module")
def good() -> Calibration:
    return make_record(note="drawn")


def measured(name: str, **ends: float | None) -> Change:
    """Change the interval of one metric on all trials."""

    def change(record: Calibration) -> Calibration:
        metrics = tuple(
            replace(one, **ends) if (one.name, one.condition) == (name, "all") else one for one in record.metrics
        )
        return replace(record, metrics=metrics)

    return change


def test_a_good_record_is_approved_by_the_rules_and_says_so(good: Calibration) -> None:
    approved = approve_by_rules(good)
    assert (approved.status, approved.approver, approved.supersedes) == (CalibrationStatus.APPROVED, APPROVER, good.id)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda record: replace(record, note=""), "limitations"),
        (lambda record: replace(record, counts=replace(record.counts, people=14)), "14 people"),
        (measured("cllr", high=1.0), "no better than no calibration"),
        (measured("cllr", high=None), "no better than no calibration"),
        (lambda record: replace(record, metrics=()), "no better than no calibration"),
        (measured("cllr_cal", low=0.051), "Cllr_cal"),
        (measured("different_lr_from_10", low=0.11), "ratios of 10 and more for the first"),
        (measured("different_lr_from_100", low=None), "ratios of 100 and more for the first"),
        (measured("same_lr_to_1/100", low=0.02), "ratios of 100 and more for the second"),
    ],
)
def test_each_rule_refuses_by_itself(good: Calibration, change: Change, wanted: str) -> None:
    bad = seal(replace(change(good), id=""))
    assert wanted in "; ".join(find_broken_rules(bad))
    with raises(Code.BAD_CALIBRATION, match="breaks the release rules"):
        approve_by_rules(bad)


def test_scores_that_say_nothing_are_not_approved() -> None:
    empty = make_record(draw_trials(gap=0.0), note="drawn")
    assert any("no better" in one for one in find_broken_rules(empty))
