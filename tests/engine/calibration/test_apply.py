"""Which record is in force, and what it says of a score: bounded, in words, or nothing."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibration import apply
from engine.calibration.apply import check_consistency, find_calibration, judge_consistency
from engine.calibration.records import Calibration, Conformal, Stratum, Task, seal
from engine.calibration.verbal_scale import Band, Zone
from engine.errors import Code
from engine.types import Reason
from tests.engine.calibration.drawn import RECIPE, draw_search, make_record
from tests.raising import raises


@pytest.fixture(scope="module")
def record() -> Calibration:
    return make_record().approve("Bob", created="2026-02-01T00:00:00+00:00")


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch, record: Calibration) -> Calibration:
    """Let the record be what comes with the program."""
    monkeypatch.setattr(apply, "list_shipped", lambda: (record,))
    return record


def test_what_comes_with_the_program_is_in_force_until_users_approve_their_own(ship: Calibration) -> None:
    assert find_calibration(Task.CONSISTENCY, RECIPE) == ship
    older = make_record(seed=5).approve("Eve", created="2026-01-03T00:00:00+00:00")
    newer = make_record(seed=6).approve("Eve", created="2026-01-04T00:00:00+00:00")
    assert find_calibration(Task.CONSISTENCY, RECIPE, [newer, older]) == newer  # though both are older than the shipped
    assert find_calibration(Task.CONSISTENCY, RECIPE, [make_record(seed=5)]) == ship  # a draft judges nothing


def test_another_recipe_or_task_finds_none(ship: Calibration) -> None:
    assert find_calibration(Task.CONSISTENCY, "another") is None
    assert find_calibration(Task.VERIFICATION, RECIPE) is None
    other = seal(replace(ship, id="", recipe="another"))
    assert find_calibration(Task.CONSISTENCY, RECIPE, [other]) == ship


def test_who_retires_what_comes_with_the_program_is_left_with_raw_scores(ship: Calibration) -> None:
    assert find_calibration(Task.CONSISTENCY, RECIPE, [ship, ship.retire("not for our cameras")]) is None


def test_a_likelihood_ratio_within_the_bounds_with_its_words_and_its_record(record: Calibration) -> None:
    for score in (-50.0, 1.5, 50.0):
        found = judge_consistency(record, score, 6.0, 150.0, (Reason.EDITED,))
        wanted = record.llrs(np.array([score]), np.log([[6.0]]))[0]
        assert found["llr"] == pytest.approx(wanted)
        assert record.bounds.lower_llr <= found["llr"] <= record.bounds.upper_llr
        assert found["band"] in set(Band) and found["calibration"].id == record.id
    assert found["llr"] == record.bounds.upper_llr and found["zone"] == Zone.SUPPORTED
    assert judge_consistency(record, -50.0, 6.0, 150.0, ())["zone"] == Zone.AGAINST


BARRING = {Reason.OFFSET_BEYOND_SEARCH, Reason.EXPERTS_DISAGREE}


def test_two_reasons_bar_a_ratio() -> None:
    assert {reason for reason in Reason if reason.bars_llr} == BARRING


@pytest.mark.parametrize("reason", sorted(BARRING))
def test_what_no_trial_was_like_has_no_ratio(record: Calibration, reason: Reason) -> None:
    found = judge_consistency(record, 50.0, 6.0, 150.0, (Reason.EDITED, reason))
    assert set(found) == {"calibration", "zone"} and found["zone"] == Zone.INCONCLUSIVE


def test_the_p_value_is_of_clips_with_as_much_speech(record: Calibration) -> None:
    strata = (Stratum(4.0, 6.0, (0.0, 1.0, 2.0)), Stratum(6.0, None, ()))
    told = seal(replace(record, id="", conformal=Conformal(strata)))
    found = judge_consistency(told, 1.5, 5.0, 150.0, ())
    assert (found["p_value"], found["smallest_p"]) == (0.75, 0.25)
    for seconds in (3.0, 8.0):  # below all strata; in one without a clip
        assert "p_value" not in judge_consistency(told, 1.5, seconds, 150.0, ())


def test_what_cannot_judge_face_and_voice_is_refused(record: Calibration) -> None:
    check_consistency(record, RECIPE)
    with raises(Code.RECIPE_MISMATCH):
        check_consistency(record, "another")
    with raises(Code.BAD_CALIBRATION, match="is draft"):
        check_consistency(make_record(), RECIPE)
    with raises(Code.BAD_CALIBRATION, match="log probe seconds"):
        check_consistency(make_record(draw_search()).approve("Bob"), RECIPE)
