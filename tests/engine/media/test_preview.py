"""Preview of a recording: duration, tracks and pictures of the right times, in bounded work."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import Code
from engine.media import preview, preview_pictures
from engine.media.containers import identify_container
from engine.media.preview import N_PICTURES, PreviewFacts, make_preview, read_preview
from engine.settings import MediaLimits
from tests.clips import Film, read_time, write_clip
from tests.raising import raises
from tests.remuxed import delay_picture, write_tracks

LIMITS = MediaLimits()
FILM = Film(duration_s=6.0)
BAD_TIMES = ({"duration_s": float("nan")}, {"player_zero_s": -1.0}, {"duration_s": 1e9})
SUFFIXES = (".mp4", ".mkv", ".webm", ".ts", ".mpg", ".avi")


def check_times(found: preview.Preview, film: Film, within_s: float = 0.3) -> None:
    assert [at for at, _ in found.pictures] == pytest.approx(
        [(number + 0.5) * film.duration_s / N_PICTURES for number in range(N_PICTURES)], abs=0.06
    )
    for at_s, image in found.pictures:
        assert read_time(image, film) == pytest.approx(at_s, abs=within_s)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_duration_and_pictures_of_every_container(tmp_path: Path, suffix: str) -> None:
    found = make_preview(write_clip(tmp_path / f"a{suffix}", FILM), LIMITS)
    assert found.facts.duration_s == pytest.approx(FILM.duration_s, abs=0.06)
    check_times(found, FILM)
    assert [one.number for one in found.facts.audio_tracks] == [1]
    assert found.pictures[0][1].shape == (90, 120, 3)


def test_pictures_are_upright(tmp_path: Path) -> None:
    film = Film(duration_s=6.0, size_px=(120, 160), turn=90)
    path = write_clip(tmp_path / "turned.mp4", film)
    found = make_preview(path, LIMITS)
    assert found.pictures[0][1].shape[:2] in ((90, 68), (90, 120))


def join_transport(first: Path, second: Path, path: Path) -> Path:
    """Concatenate two transport streams: the clock restarts."""
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_a_clock_that_restarts_is_one_recording(tmp_path: Path) -> None:
    part = write_clip(tmp_path / "part.ts", FILM)
    found = make_preview(join_transport(part, part, tmp_path / "two.ts"), LIMITS)
    assert found.facts.duration_s == pytest.approx(12.0, abs=0.2)
    for at_s, image in found.pictures:
        assert read_time(image, FILM) == pytest.approx(at_s % 6.0, abs=0.4)


def test_audio_tracks_have_what_the_file_says_of_them(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "source.mp4", FILM)
    path = write_tracks(tmp_path / "two.mkv", source, [source, source], ["eng", "deu"], default=2)
    tracks = make_preview(path, LIMITS).facts.audio_tracks
    assert [(one.number, one.language, one.title, one.is_default) for one in tracks] == [
        (1, "eng", "Track 1", False),
        (2, "deu", "Track 2", True),
    ]
    assert tracks[0].channels == ("FL", "FR")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_late_first_picture_is_time_0(tmp_path: Path, suffix: str) -> None:
    path = delay_picture(write_clip(tmp_path / "clip.mp4", FILM), tmp_path / f"late{suffix}", 2.0)
    found = make_preview(path, LIMITS)
    assert found.facts.player_zero_s == pytest.approx(2.0, abs=0.05)
    check_times(found, FILM)


def read(path: Path, **changes: object) -> tuple[PreviewFacts, list[tuple[float, np.ndarray]], int]:
    facts: list[PreviewFacts] = []
    pictures: list[tuple[float, np.ndarray]] = []
    packets: list[None] = []
    with io.FileIO(str(path)) as file:
        read_preview(
            file,
            identify_container(path),
            LIMITS,
            facts.append,
            lambda at, image: pictures.append((at, image)),
            lambda: packets.append(None),
        )
    return facts[0], pictures, len(packets)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_work_does_not_grow_with_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(preview_pictures, "PIXELS_PER_PICTURE", 160 * 120 * 5)
    few_keys = (("g", "10"),)
    short, long = (
        read(write_clip(tmp_path / f"{seconds}{suffix}", Film(duration_s=seconds, picture_options=few_keys)))[2]
        for seconds in (10.0, 40.0)
    )
    assert long < 1.5 * short


def test_a_long_stream_without_an_index_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_pictures, "INDEX_S", -1.0)
    film = Film(duration_s=12.0, picture_options=(("g", "12"),))
    facts, pictures, _ = read(write_clip(tmp_path / "a.ts", film))
    assert facts.duration_s == pytest.approx(12.0, abs=0.1)
    assert len(pictures) >= N_PICTURES - 2
    assert all(read_time(image, film) == pytest.approx(at_s, abs=3.2) for at_s, image in pictures)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a text")
    with raises(Code.UNREADABLE_VIDEO):
        make_preview(tmp_path / "a.mp4", LIMITS)
    with raises(Code.FILE_TOO_LARGE):
        make_preview(write_clip(tmp_path / "b.mp4", FILM), MediaLimits(max_bytes=1000))


def test_a_damaged_file_has_the_pictures_that_can_be_found(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.ts", Film(duration_s=6.0, picture_options=(("g", "12"),)))
    half = shutil.copy(whole, tmp_path / "half.ts")
    data = bytearray(half.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    half.write_bytes(data)
    found = make_preview(half, LIMITS)
    assert found.facts.duration_s < 4.0 and len(found.pictures) > 0


def test_facts_of_a_hostile_process_are_refused() -> None:
    good = {"duration_s": 5.0, "player_zero_s": 0.0, "audio_tracks": []}
    assert preview._read_facts(good).duration_s == 5.0
    for bad in (
        {"duration_s": float("nan")},
        {"player_zero_s": -1.0},
        {"audio_tracks": [{"x": 1}]},
        {"duration_s": 1e9},
    ):
        with pytest.raises((ValueError, TypeError, KeyError)):
            preview._read_facts(good | bad)
