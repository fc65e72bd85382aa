"""Times and channels as people write them, and selections that fit no recording."""

import math
from pathlib import Path

import pytest

from engine.errors import Code
from engine.media.clip import open_clip
from engine.media.selection import check_selection, format_time, parse_channel, parse_time
from engine.types import MediaSelection
from tests.clips import Film, write_clip
from tests.raising import raises


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("75", 75), ("1:15", 75), ("0:01:15", 75), ("1:15.5", 75.5), ("2,25", 2.25), ("90:00", 5400), ("3:59:59", 14399)],
)
def test_seconds_minutes_and_hours_are_read(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds
    assert parse_time(f"  {text} ") == seconds


@pytest.mark.parametrize(
    "text", ["", "-3", "1:75", "0:75:00", "1:2:3:4", "x", "1e3", "nan", "inf", "1:", ":1", "9" * 99]
)
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time\. Write seconds, mm:ss or h:mm:ss"):
        parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (75.26, "0:01:15.3"), (59.97, "0:01:00"), (14400, "4:00:00")]
)
def test_a_time_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert format_time(seconds) == text
    assert parse_time(text) == pytest.approx(seconds, abs=0.05)


def test_channels_have_names_of_people_and_of_ffmpeg() -> None:
    named = {name: parse_channel(name) for name in ("mix", "Left", "RIGHT", "fl", "FC", "LFE2", " BR ")}
    assert list(named.values()) == ["mix", "FL", "FR", "FL", "FC", "LFE2", "BR"]
    for text in ("", "middle", "FL;", "1"):
        with pytest.raises(ValueError, match="Write mix, left, right"):
            parse_channel(text)


@pytest.mark.parametrize(
    "selection",
    [
        MediaSelection(5.0, 5.0),
        MediaSelection(5.0, 4.0),
        MediaSelection(-1.0),
        MediaSelection(math.nan),
        MediaSelection(0.0, math.inf),
        MediaSelection(audio_track=0),
        MediaSelection(channel="middle one"),
    ],
)
def test_nonsense_is_refused_with_a_next_step(selection: MediaSelection) -> None:
    with raises(Code.BAD_SELECTION) as refused:
        check_selection(selection)
    assert refused.value.hint


def test_the_whole_recording_and_a_part_are_accepted() -> None:
    check_selection(MediaSelection())
    check_selection(MediaSelection(3600.0, 3660.5, 2, "FL"))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (MediaSelection(7.0), "begins at 7.0 s, and the last picture is at 2.0 s"),
        (MediaSelection(audio_track=2), "track 2 was asked for, and the file has 1 audio track"),
        (MediaSelection(channel="FC"), "audio track 1 has FL, FR"),
    ],
)
def test_what_a_recording_does_not_have_is_refused_with_what_it_has(
    tmp_path: Path, selection: MediaSelection, message: str
) -> None:
    path = write_clip(tmp_path / "a.mp4", Film(duration_s=2.04))
    with raises(Code.BAD_SELECTION, match=message) as refused:
        open_clip(path, selection=selection)
    assert refused.value.hint
    assert open_clip(path, selection=MediaSelection(0.0, 60.0)).media.to_s == pytest.approx(2.04)
