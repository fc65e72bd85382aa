"""Rendered lip closures: collapsed, compared with chance, with warnings."""

import re

from engine.consistency.lip_closures import Articulation, ArticulationReport, ClosureOutcome, Gesture
from tests.engine.reports.test_lip_closures import make_report
from tests.webapp.views.test_analysis import Tags
from webapp.analysis.records import JobError
from webapp.i18n import speak
from webapp.views.lip_closures import MAX_ROWS, describe_lips


def read_words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_nothing_asked_shows_nothing() -> None:
    assert describe_lips(None, None) == ""


def test_counts_chance_and_warnings_are_behind_a_closed_fold() -> None:
    html = describe_lips(make_report(), None)
    assert html.startswith("<details") and " open" not in html.partition(">")[0]
    words = read_words(html)
    assert "3 of 9 missed, 33% (95 %: 12% to 65%)" in words
    assert "would miss 75%" in words and "1 more could not be seen" in words
    assert "no verdict" in words and "model of English" in words
    assert "next to nothing" not in words


def test_each_sound_is_a_row_whose_button_moves_the_player() -> None:
    html = describe_lips(make_report(), None)
    assert html.count("data-seek=") == len(make_report().sounds)
    assert 'data-seek="0.25"' in html
    words = read_words(html)
    assert "m (my) closed 0.250 ✓ made" in words and "closed – – not seen" in words and "oo (food) rounded" in words


def test_few_sounds_are_warned_of() -> None:
    assert "next to nothing" in read_words(describe_lips(make_report(2, 1, 0), None))


def test_a_face_without_such_sounds_says_so_and_has_no_table() -> None:
    html = describe_lips(ArticulationReport("en", 0.0, 2.0, ()), None)
    assert "no such sound while the face was measured" in html and "<table>" not in html


def test_a_long_clip_is_cut_in_the_page_and_says_so() -> None:
    one = Articulation("P", 1.0, 1.1, Gesture.CLOSED, 0.01, ClosureOutcome.MADE, 0.5)
    html = describe_lips(ArticulationReport("en", 0.0, 900.0, (one,) * (MAX_ROWS + 7)), None)
    assert html.count("<tr>") == MAX_ROWS + 1
    assert "7 more are in the JSON" in html


def test_absence_reason_is_shown_and_escaped() -> None:
    html = describe_lips(None, JobError("RECOGNISER_MISSING", "No <b>pocketsphinx</b>.", "Install it."))
    assert "RECOGNISER_MISSING" in html and "<b>pocketsphinx" not in html and "Install it." in html


def test_it_is_said_in_german_too() -> None:
    with speak("de"):
        html = describe_lips(make_report(), None)
    text = Tags(html).text
    assert "Lippen geschlossen bei m, b und p: 3 von 9 ausgelassen" in text and "gebildet" in text
    assert not re.search(r"\b(missed|made|rounded|Measured)\b", text)
