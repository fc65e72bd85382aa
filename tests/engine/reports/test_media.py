"""Facts about what of a recording was judged, in the report of the terminal."""

from dataclasses import replace

import pytest

from engine.reports.json import from_json, to_json
from engine.reports.media import (
    Head,
    describe_selection,
    has_own_clock,
    is_ordinary,
    list_facts,
    read_judged,
    to_file_time,
)
from engine.reports.text import summarise
from engine.types import AudioTrack, ClockSeam, MediaReport, MediaSelection
from tests.fakes import make_analysis

ENGLISH = AudioTrack(1, "aac", ("FL", "FR"), "eng", "Original", speech_s=4.25)
GERMAN = AudioTrack(2, "ac3", ("FL", "FR", "FC"), "deu", "Dub\x1b[31m", is_default=True, program=7)
PLAIN = MediaReport(to_s=10.0, audio_track=1, channel="mix", audio_tracks=(replace(ENGLISH, speech_s=None),))
FULL = MediaReport(
    zero_s=1.52,
    player_zero_s=1.5,
    from_s=60.0,
    to_s=75.5,
    seams=(ClockSeam(65.0, 66.52, 0.4),),
    audio_track=2,
    channel="FR",
    audio_tracks=(ENGLISH, GERMAN),
    rotation_deg=180,
    faces_left_out=3,
)


def test_every_fact_of_a_recording_is_named() -> None:
    found = {fact.head: str(fact) for fact in list_facts(FULL)}
    assert found == {
        Head.SOUND: "audio track 2 of 2: deu, “Dub [31m”, ac3, FL FR FC, program 7, default",
        Head.CHANNEL: "right channel (FR)",
        Head.OTHERS: "audio track 1, not judged: eng, “Original”, aac, FL FR; 4.2 s of speech found",
        Head.PART: "0:01:00 to 0:01:15.5",
        Head.TIMES: "0 is the first picture: 1.52 s on the file's own clock, 1.50 s in a player",
        Head.SEAMS: "at 0:01:05 the file's clock goes from 66.52 s to 0.40 s",
        Head.ROTATION: "the pictures were turned by 180° clockwise",
        Head.LEFT_OUT: "up to 3 at one time",
    }


def test_a_recording_without_sound_says_so() -> None:
    assert next(str(fact) for fact in list_facts(MediaReport(to_s=10.0))).startswith("the recording has no audio track")


def test_the_terminal_prints_the_facts_only_where_they_need_attention() -> None:
    ordinary, full = (summarise(replace(make_analysis(), media=media)) for media in (PLAIN, FULL))
    assert ordinary == summarise(make_analysis())
    assert all(f"{fact.head}: {fact}" in full.splitlines() for fact in list_facts(FULL))
    chosen = summarise(replace(make_analysis(), media=PLAIN), is_selected=True)
    assert "Part: 0:00:00 to 0:00:10" in chosen.splitlines()


@pytest.mark.parametrize(
    "change",
    [
        {"audio_tracks": (ENGLISH, GERMAN)},
        {"channel": "FL"},
        {"from_s": 5.0},
        {"zero_s": 1.52},
        {"seams": FULL.seams},
        {"rotation_deg": 90},
        {"faces_left_out": 1},
    ],
)
def test_what_differs_from_one_track_from_the_start_needs_attention(change: dict) -> None:
    assert is_ordinary(PLAIN) and not is_ordinary(replace(PLAIN, **change))


def test_the_clock_of_the_file_is_followed_over_seams() -> None:
    assert has_own_clock(FULL) and not has_own_clock(PLAIN)
    assert [to_file_time(FULL, one) for one in (0.0, 64.9, 65.0, 70.0)] == pytest.approx([1.52, 66.42, 0.4, 5.4])
    assert to_file_time(PLAIN, 3.0) == 3.0


def test_reports_of_earlier_versions_stay_readable_and_state_no_facts() -> None:
    report = to_json(make_analysis())
    report.pop("media")
    old = from_json(report)
    assert old.media == MediaReport() and list_facts(old.media) == () and is_ordinary(old.media)
    assert from_json(to_json(replace(make_analysis(), media=FULL))).media == FULL


def test_a_selection_is_described_in_a_few_characters() -> None:
    assert describe_selection(MediaSelection()) == ""
    assert describe_selection(MediaSelection(60.0)) == "0:01:00–"
    assert describe_selection(read_judged(FULL)) == "0:01:00–0:01:15.5 · #2 · FR"


def test_the_channel_of_a_face_is_stated() -> None:
    analysis = make_analysis()
    text = summarise(replace(analysis, tracks=(replace(analysis.tracks[0], channel="FL"),)))
    assert "judged with: left channel (FL)" in text
