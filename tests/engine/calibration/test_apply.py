"""Records in force, likelihood ratios and zones, and conformal p-values in finite samples."""

from dataclasses import replace

import numpy as np
import pytest

from engine.calibration import apply
from engine.calibration.apply import (
    apply_calibration,
    check_consistency,
    find_calibration,
    fit_conformal,
    high_p_value,
    p_value,
)
from engine.calibration.lengths import find_range
from engine.calibration.qualities import SpeechQuality
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
    """Make the record the only shipped one."""
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


def test_retiring_shipped_record_leaves_raw_scores(ship: Calibration) -> None:
    assert find_calibration(Task.CONSISTENCY, RECIPE, [ship, ship.retire("not for our cameras")]) is None


def test_a_likelihood_ratio_within_the_bounds_with_its_words_and_its_record(record: Calibration) -> None:
    for score in (-50.0, 1.5, 50.0):
        found = apply_calibration(record, score, SpeechQuality(6.0, 150.0), (Reason.EDITED,))
        wanted = record.llrs(np.array([score]), np.log([[6.0]]), speech_s=np.array([6.0]))[0]
        assert found["llr"] == pytest.approx(wanted)
        assert record.bounds_at(6.0)[0] <= found["llr"] <= record.bounds_at(6.0)[1]
        assert found["band"] in set(Band) and found["calibration"].id == record.id
    assert found["llr"] == record.bounds_at(6.0)[1] < record.bounds.upper_llr and found["zone"] == Zone.SUPPORTED
    assert found["calibration"].bounds_llr == record.bounds_at(6.0)
    assert apply_calibration(record, -50.0, SpeechQuality(6.0, 150.0), ())["zone"] == Zone.AGAINST


BARRING = {Reason.OFFSET_BEYOND_SEARCH, Reason.EXPERTS_DISAGREE, Reason.LISTENER, Reason.VOICE_CHANGES}


def test_four_reasons_bar_a_ratio() -> None:
    assert {reason for reason in Reason if reason.bars_llr} == BARRING


@pytest.mark.parametrize("reason", sorted(BARRING))
def test_score_outside_trial_range_has_no_ratio(record: Calibration, reason: Reason) -> None:
    found = apply_calibration(record, 50.0, SpeechQuality(6.0, 150.0), (Reason.EDITED, reason))
    assert set(found) == {"calibration", "zone"} and found["zone"] == Zone.INCONCLUSIVE


def test_the_p_value_is_of_clips_with_as_much_speech(record: Calibration) -> None:
    strata = (Stratum(4.0, 6.0, (0.0, 1.0, 2.0)), Stratum(6.0, None, ()))
    result = seal(replace(record, id="", conformal=Conformal(strata)))
    found = apply_calibration(result, 1.5, SpeechQuality(5.0, 150.0), ())
    assert (found["p_value"], found["high_p_value"], found["smallest_p"]) == (0.75, 0.5, 0.25)
    for seconds in (3.0, 8.0):  # below all strata; in one without a clip
        assert (
            not {"p_value", "high_p_value"} & apply_calibration(result, 1.5, SpeechQuality(seconds, 150.0), ()).keys()
        )


def test_record_of_other_task_is_refused(record: Calibration) -> None:
    check_consistency(record, RECIPE)
    with raises(Code.RECIPE_MISMATCH):
        check_consistency(record, "another")
    with raises(Code.BAD_CALIBRATION, match="is draft"):
        check_consistency(make_record(), RECIPE)
    with raises(Code.BAD_CALIBRATION, match="log probe seconds"):
        check_consistency(make_record(draw_search()).approve("Bob"), RECIPE)


def make(*scores: float) -> Conformal:
    return Conformal((Stratum(4.0, 10.0, tuple(sorted(scores))), Stratum(10.0, None, ())))


def test_the_p_value_counts_scores_that_are_no_higher() -> None:
    conformal = make(0.1, 0.2, 0.2, 0.4)
    assert [p_value(conformal, score, 5.0) for score in (0.05, 0.1, 0.2, 0.3, 0.5)] == [0.2, 0.4, 0.8, 0.8, 1.0]


def test_the_p_value_of_too_good_a_fit_counts_scores_that_are_no_lower() -> None:
    conformal = make(0.1, 0.2, 0.2, 0.4)
    assert [high_p_value(conformal, score, 5.0) for score in (0.05, 0.2, 0.3, 0.4, 0.5)] == [1.0, 0.8, 0.4, 0.4, 0.2]
    assert high_p_value(conformal, 0.5, 3.99) is None


def test_p_value_is_bounded_by_number_of_clips() -> None:
    conformal = make(*np.linspace(0, 1, 19))
    assert p_value(conformal, -99.0, 5.0) == conformal.strata[0].smallest_p == 1 / 20
    assert conformal.strata[1].smallest_p == 1 and p_value(conformal, -99.0, 12.0) == 1.0


def test_the_edge_belongs_to_the_stratum_that_begins_there_and_too_little_speech_to_none() -> None:
    conformal = make(0.5)
    assert find_range(conformal.strata, 4.0) is conformal.strata[0]
    assert find_range(conformal.strata, 10.0) is conformal.strata[1]
    assert find_range(conformal.strata, 3.99) is None and p_value(conformal, 0.5, 3.99) is None


def test_p_value_false_alarm_rate_is_below_target() -> None:
    # finite-sample validity: P(p <= a) <= a for each n, also where n is small, scores have ties and a heavy tail
    rng, n_runs = np.random.default_rng(0), 4000
    for n, digits in ((9, 1), (19, 6), (50, 2)):
        scores = rng.standard_t(2, (n_runs, n + 1)).round(digits)
        p = np.array([p_value(make(*run[:-1]), float(run[-1]), 5.0) for run in scores])
        for rate in (0.05, 0.1, 0.2, 0.5):
            assert (p <= rate).mean() <= rate + 3 * (rate * (1 - rate) / n_runs) ** 0.5
        if digits == 6 and n == 19:  # and where it can be exact, it is
            assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.012)


def test_each_length_is_held_to_its_own_clips() -> None:
    # short clips score lower; a p-value over all lengths would call them strange far too often
    rng, n = np.random.default_rng(1), 400
    seconds = np.where(np.arange(2 * n) < n, 5.0, 12.0)
    scores = rng.normal(np.where(seconds < 10, 0.0, 4.0))
    people = np.array([f"p{row}" for row in range(2 * n)])
    half = np.arange(2 * n) % 2 == 0
    by_length = fit_conformal(scores[half], seconds[half], people[half])
    at_once = fit_conformal(scores[half], seconds[half], people[half], edges_s=(4.0,))
    short = [(float(score), 5.0) for score in scores[~half & (seconds < 10)]]
    assert np.mean([(p_value(by_length, *one) or 0) <= 0.1 for one in short]) < 0.16
    assert np.mean([(p_value(at_once, *one) or 0) <= 0.1 for one in short]) > 0.17


def test_each_person_gives_one_score_to_a_stratum_drawn_by_the_seed() -> None:
    scores, seconds = np.arange(12.0), np.array([4.0, 5.0, 7.0] * 4)
    people = np.repeat(["ada", "bob", "eve", "kim"], 3)
    found = fit_conformal(scores, seconds, people, seed=3, edges_s=(4.0, 6.0, 10.0))
    assert [len(one.scores) for one in found.strata] == [4, 4, 0]
    assert set(found.strata[1].scores) == {2.0, 5.0, 8.0, 11.0}
    assert all(low in (0, 1, 3, 4, 6, 7, 9, 10) for low in found.strata[0].scores)
    assert fit_conformal(scores, seconds, people, seed=3, edges_s=(4.0, 6.0, 10.0)) == found
    assert any(
        fit_conformal(scores, seconds, people, seed=seed, edges_s=(4.0, 6.0, 10.0)) != found for seed in range(9)
    )
    with pytest.raises(ValueError, match="rising"):
        fit_conformal(scores, seconds, people, edges_s=(4.0, 4.0))
