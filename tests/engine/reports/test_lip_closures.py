"""Lip closure reports as JSON and as lines."""

import json

import pytest

from engine.consistency.lip_closures import Articulation, ArticulationReport, ClosureOutcome, Gesture
from engine.errors import Code
from engine.reports.lip_closures import describe_tally, from_json, list_rows, summarise, to_json
from tests.raising import raises


def make_report(n_made: int = 6, n_missed: int = 3, n_unseen: int = 1) -> ArticulationReport:
    outcomes = [ClosureOutcome.MADE] * n_made + [ClosureOutcome.MISSED] * n_missed + [ClosureOutcome.UNSEEN] * n_unseen
    found = [
        Articulation("MBP"[i % 3], i / 4, i / 4 + 0.08, Gesture.CLOSED, _measure(outcome), outcome, 0.75)
        for i, outcome in enumerate(outcomes)
    ]
    return ArticulationReport("en", 0.0, 8.0, (*found, *_round()))


def _measure(outcome: ClosureOutcome) -> float | None:
    return None if outcome == ClosureOutcome.UNSEEN else 0.25


def _round() -> tuple[Articulation, ...]:
    return (Articulation("UW", 6.0, 6.12, Gesture.ROUNDED, 0.61, ClosureOutcome.MADE, 0.5),)


def test_json_is_read_back_as_it_was() -> None:
    reports = (make_report(), ArticulationReport("en", 1.0, 2.0, ()))
    written = json.loads(json.dumps(to_json(reports), allow_nan=False))
    assert from_json(written) == reports
    assert to_json(from_json(written)) == written


def test_json_tells_counts_share_interval_and_chance() -> None:
    face = to_json([make_report()])["faces"][0]
    assert face["id"] == 0
    assert face["closed"] == {
        "n": 9, "n_missed": 3, "n_unseen": 1, "share": 0.3333, "ci": [0.1206, 0.6458], "by_chance": 0.75,
    }  # fmt: skip
    assert face["rounded"]["n"] == 1 and face["both"]["n"] == 10
    assert face["sounds"][9] == {
        "sound": "M", "start_s": 2.25, "end_s": 2.33, "wanted": "closed", "measured": None, "outcome": "not seen",
        "by_chance": 0.75,
    }  # fmt: skip


@pytest.mark.parametrize("damage", [{}, {"faces": [{}]}, {"faces": 3}])
def test_what_is_not_whole_is_refused(damage: dict) -> None:
    with raises(Code.REPORT_DAMAGED):
        from_json(damage)


def test_an_outcome_that_is_not_known_is_refused() -> None:
    written = to_json([make_report()])
    written["faces"][0]["sounds"][0]["outcome"] = "fine"
    with raises(Code.REPORT_DAMAGED):
        from_json(written)


def test_rows_say_what_was_heard_wanted_measured_and_done() -> None:
    rows = list_rows(make_report())
    assert rows[0] == ("0.00", "m (my)", "closed", "0.250", "made")
    assert rows[9] == ("2.25", "m (my)", "closed", "-", "not seen")
    assert rows[-1] == ("6.00", "oo (food)", "rounded", "0.610", "made")


def test_summary_compares_rate_with_chance_and_warns() -> None:
    lines = summarise(make_report())
    assert lines[0].endswith(
        "3 of 9 missed, 33% (95 %: 12% to 65%); at any other time of the speech 75%; 1 more could not be seen"
    )
    text = " ".join(lines)
    assert "English" in text and "no verdict" in text
    assert "next to nothing" not in text
    assert "With only 4 sounds" in " ".join(summarise(make_report(2, 1, 0)))


def test_no_sound_is_said() -> None:
    report = ArticulationReport("en", 0.0, 1.0, ())
    assert describe_tally(report.closed) == "no such sound while the face was measured"
    assert "With only" not in " ".join(summarise(report))
