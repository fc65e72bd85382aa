"""What the events do: one outcome for each kind of file, the steps in words, the report as the command line has it."""

import json
from pathlib import Path

import pytest

from engine.errors import EngineError, LicenceNotAccepted, UnreadableVideo
from engine.methods import Method
from engine.report import to_json, write_json
from engine.types import Model
from tests.fakes import FakeEngine, make_analysis
from webapp.examples import EXAMPLES, Example, find_examples, make_examples
from webapp.handlers import Outcome, analyse_file, find_method, follow_steps, show_video


def press(engine: FakeEngine, path: str | None, folder: Path) -> tuple[Outcome, list[tuple[float, str]]]:
    shown: list[tuple[float, str]] = []
    return analyse_file(lambda: engine, path, lambda share, text: shown.append((share, text)), folder), shown


def test_a_good_file_gives_words_a_report_and_its_analysis(tmp_path: Path) -> None:
    outcome, _ = press(FakeEngine(), "clip.mp4", tmp_path)
    assert outcome.analysis is not None and outcome.download is not None
    assert "clip.mp4" in outcome.summary
    assert outcome.download.read_text("utf-8") == write_json(to_json(outcome.analysis))
    assert json.loads(outcome.download.read_text("utf-8"))["file"]["name"] == "clip.mp4"


def test_two_reports_of_one_file_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first, second = press(FakeEngine(), "a.mp4", tmp_path)[0], press(FakeEngine(), "b.mp4", tmp_path)[0]
    assert first.download != second.download
    assert first.download is not None and "a.mp4" in first.download.read_text("utf-8")


def test_the_bar_only_grows_and_names_the_step(tmp_path: Path) -> None:
    _, shown = press(FakeEngine(), "clip.mp4", tmp_path)
    shares = [share for share, _ in shown]
    assert shares == sorted(shares) and shares[-1] == 1.0 and min(shares) == 0.0
    assert any("Following faces (5 of 10 frames)" in text for _, text in shown)


def test_an_unknown_step_and_an_unknown_total_are_harmless() -> None:
    shown: list[tuple[float, str]] = []
    on_step = follow_steps(lambda share, text: shown.append((share, text)))
    on_step("something new", 3, 0)
    assert shown == [(0.0, "something new")]


def test_no_file_is_said_in_words(tmp_path: Path) -> None:
    for nothing in (None, ""):
        outcome, shown = press(FakeEngine(), nothing, tmp_path)
        assert "No video was chosen" in outcome.summary
        assert (outcome.analysis, outcome.download, shown) == (None, None, [])


def test_an_engine_error_becomes_words_and_leaves_no_report(tmp_path: Path) -> None:
    outcome, _ = press(FakeEngine(UnreadableVideo("It is a text.", "Choose a video.")), "x.mp4", tmp_path)
    assert "It is a text." in outcome.summary and "Choose a video." in outcome.summary
    assert outcome.analysis is None and outcome.download is None and not list(tmp_path.iterdir())


def test_an_accident_is_logged_and_told_without_its_details(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def break_down(path: Path) -> None:
        raise RuntimeError("secret detail")

    outcome, _ = press(FakeEngine(break_down), "x.mp4", tmp_path)  # type: ignore[arg-type]
    assert "Something went wrong inside Wayspeak" in outcome.summary
    assert "secret detail" not in outcome.summary and "secret detail" in caplog.text


def test_examples_are_announced_as_such_and_other_files_are_not() -> None:
    assert "animated portrait" in show_video(f"/somewhere/{EXAMPLES[0].file}")
    assert "animated portrait" not in show_video("/somewhere/else.mp4")
    assert "No video chosen" in show_video(None)


def test_examples_are_made_once_and_again_when_their_recipe_changes(tmp_path: Path) -> None:
    short = tuple(Example(e.file, e.title, e.caption, "Hello there.", "Hello there.") for e in EXAMPLES)
    paths = make_examples(tmp_path, short)
    made = [path.stat().st_mtime_ns for path in paths]
    assert find_examples(tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in make_examples(tmp_path, short)] == made
    changed = (short[0], Example(short[1].file, "t", "c", "Hello there.", "Goodbye now."))
    again = [path.stat().st_mtime_ns for path in make_examples(tmp_path, changed)]
    assert again[0] == made[0] and again[1] > made[1]


def test_examples_are_not_offered_half_made(tmp_path: Path) -> None:
    assert find_examples(tmp_path) == ()
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / EXAMPLES[0].file).write_bytes(b"x")
    assert find_examples(tmp_path) == ()


def test_the_fake_analysis_is_one_the_page_can_show() -> None:
    assert make_analysis().tracks


def test_methods_are_found_by_their_title_and_only_where_they_are(tmp_path: Path) -> None:
    assert find_method(Method().title, tmp_path) == Method()
    for title in (Method(Model.AVHUBERT_LARGE).title, "", None, "<b>"):
        with pytest.raises(EngineError, match="is not there"):
            find_method(title, tmp_path)


def test_an_engine_that_cannot_be_loaded_is_told_like_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    def fail() -> FakeEngine:
        raise LicenceNotAccepted("Not accepted.", "Accept it.")

    outcome = analyse_file(fail, "a.mp4", lambda share, text: None, tmp_path)
    assert "LICENCE_NOT_ACCEPTED" in outcome.summary and outcome.analysis is None
