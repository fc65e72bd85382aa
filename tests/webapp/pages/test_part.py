"""Fields of part and sound on the page, and the preview that shows them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Code
from engine.settings import MediaLimits
from engine.types import MediaSelection
from tests.clips import Film, write_clip
from tests.raising import raises
from tests.remuxed import write_tracks
from tests.webapp.jobs.samples import write_file
from tests.webapp.pages.contexts import OWNER, finish_job
from webapp.context import AppContext
from webapp.pages import analyse_events, part
from webapp.pages.analyse_events import AnalyseForm
from webapp.pages.part import AUTOMATIC, OUTPUTS, PartForm

LIMITS = MediaLimits()
WHOLE = PartForm("0:00:00", "0:00:11.8", 0, AUTOMATIC, 11.76, "a.mp4")


def show(path: Path, **named: object) -> dict[str, Any]:
    return dict(zip(OUTPUTS, part.show_recording(path, LIMITS, **named), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "selection"),
    [
        (PartForm(), MediaSelection()),
        (WHOLE, MediaSelection()),
        (replace(WHOLE, start="2", end="0:10"), MediaSelection(2.0, 10.0)),
        (replace(WHOLE, start="", end=""), MediaSelection()),
        (replace(WHOLE, track=2, channel="FL"), MediaSelection(audio_track=2, channel="FL")),
        (replace(WHOLE, channel="mix", length_s=None), MediaSelection(channel="mix")),
        (replace(WHOLE, start="99", length_s=None), MediaSelection()),  # the fields are hidden
        (replace(WHOLE, end="12"), MediaSelection()),
    ],
)
def test_fields_become_a_selection(form: PartForm, selection: MediaSelection) -> None:
    assert form.to_selection() == selection
    assert AnalyseForm(("a.mp4",), part=form).to_request().selection == selection


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "1:75"}, "no time"),
        ({"start": "0:00:12"}, "starts at 0:00:12, and the recording is 0:00:11.8 long"),
        ({"end": "0:00:59"}, "ends at 0:00:59, and the recording is 0:00:11.8 long"),
        ({"start": "5", "end": "4"}, "not after its start"),
    ],
)
def test_nonsense_in_the_fields_is_refused_with_a_next_step(change: dict[str, str], message: str) -> None:
    with raises(Code.BAD_SELECTION, match=message) as refused:
        AnalyseForm(("a.mp4",), part=replace(WHOLE, **change)).to_request()  # type: ignore[arg-type]
    assert refused.value.hint


def test_one_file_is_previewed_and_several_are_analysed_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", Film(duration_s=6.0))
    preview = part.make_previewer(LIMITS)
    shown = dict(zip(OUTPUTS, preview([str(path)], None), strict=True))
    length_s, of = shown["length"]
    assert shown["strip"].count("<img") == 12 and length_s == pytest.approx(6.0) and of == str(path)
    assert show(path, source="a job")["length"][1] == "a job"
    assert (shown["from"], shown["to"], shown["times"]["visible"]) == ("0:00:00", "0:00:06", True)
    assert not shown["track"]["visible"]  # there is one
    assert preview([str(path)] * 2, None) == preview(None, None) == part.hide()
    assert preview(None, "a job").get("__type__") == "update"  # nothing changes


def test_several_audio_tracks_are_offered_by_name(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "source.mp4", Film(duration_s=3.0))
    path = write_tracks(tmp_path / "two.mkv", source, [source, source], ["eng", "deu"], default=2)
    track = show(path)["track"]
    assert track["visible"] and track["value"] == 0
    assert track["choices"] == [
        ("Automatic", 0), ("1: eng, “Track 1”, aac, FL FR", 1), ("2: deu, “Track 2”, aac, FL FR, default", 2),
    ]  # fmt: skip


def test_a_file_that_cannot_be_read_shows_its_error(tmp_path: Path) -> None:
    shown = show(write_file(tmp_path, "a.mp4", b"<b>text"))
    assert "UNREADABLE_VIDEO" in shown["strip"] and shown["length"] is None and not shown["times"]["visible"]


def test_a_link_has_handles_without_pictures() -> None:
    shown = dict(zip(OUTPUTS, part.show_length(4000.0, "https://a.example/b"), strict=True))
    assert shown["length"] == (4000.0, "https://a.example/b")
    assert 'step="1.0"' in shown["strip"] and "<img" not in shown["strip"] and shown["to"] == "1:06:40"


def test_a_part_is_of_one_recording(context: AppContext, tmp_path: Path) -> None:
    paths = tuple(str(write_file(tmp_path, name, name.encode())) for name in ("a.mp4", "b.mp4"))
    chosen = replace(WHOLE, start="2", track=2, channel="FL", of=paths[0])
    (one,) = analyse_events.submit(context, OWNER, AnalyseForm(paths[:1], part=chosen))
    assert one.question.selection == MediaSelection(2.0, None, 2, "FL")
    for job in analyse_events.submit(context, OWNER, AnalyseForm(paths, part=chosen)):
        assert job.question.selection == MediaSelection(channel="FL")


@pytest.mark.parametrize(
    "asked", [AnalyseForm(("b.mp4",)), AnalyseForm(url="https://a.example/b"), AnalyseForm(source="a job")]
)
def test_a_part_of_the_recording_before_is_not_that_of_the_next(asked: AnalyseForm) -> None:
    """The page may be sent before the next recording is previewed."""
    chosen = replace(WHOLE, start="2", end="nonsense", track=2, channel="FL")
    assert replace(asked, part=chosen).to_request().selection == MediaSelection(channel="FL")
    own = replace(chosen, end="4", of=asked.recordings[0])
    assert replace(asked, part=own).to_request().selection == MediaSelection(2.0, 4.0, 2, "FL")


def test_another_part_of_a_job_is_a_job_on_its_file(context: AppContext, tmp_path: Path) -> None:
    first = finish_job(context, tmp_path)
    chosen = replace(WHOLE, start="3", of=first.id)
    (again,) = analyse_events.submit(context, OWNER, AnalyseForm(part=chosen, source=first.id))
    assert (again.sha256, again.question.selection) == (first.sha256, MediaSelection(3.0))
    with raises("ENGINE_ERROR", match="No video was chosen"):
        analyse_events.submit(context, "eve", AnalyseForm(part=WHOLE, source=first.id))
