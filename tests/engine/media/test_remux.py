"""Video and audio of two files are merged packet by packet in a confined process."""

import hashlib
import io
import socket
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from engine.errors import Code, EngineError
from engine.media import remux
from engine.media.clip import open_clip
from engine.media.remux import merge
from engine.media.sandbox.ipc import Link
from engine.settings import MediaLimits
from engine.types import Clip
from tests import hostile
from tests.clips import Film, is_flash, write_clip
from tests.raising import raises

LIMITS = MediaLimits()
KINDS = {  # suffix of each part, codecs
    "mp4": (".mp4", ".mp4", ("libx264", "aac")),
    "webm": (".webm", ".webm", ("libvpx-vp9", "libopus")),
    "old webm": (".webm", ".webm", ("libvpx", "libopus")),
    "mixed": (".mp4", ".webm", ("libx264", "libopus")),
    "transport": (".ts", ".ts", ("libx264", "aac")),
}


def write_parts(folder: Path, kind: str, film: Film | None = None) -> tuple[Path, Path, Path]:
    """A whole film, its picture alone and its sound alone, the packets the same."""
    picture_suffix, sound_suffix, codecs = KINDS[kind]
    film = film or Film(codecs=codecs)
    whole = write_clip(folder / ("whole.mkv" if kind == "mixed" else f"whole{picture_suffix}"), film)
    picture, sound = folder / f"picture{picture_suffix}", folder / f"sound{sound_suffix}"
    for path, stream_kind in ((picture, "video"), (sound, "audio")):
        with av.open(str(whole)) as source, av.open(str(path), "w") as part:
            stream = next(stream for stream in source.streams if stream.type == stream_kind)
            target = part.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    part.mux(packet)
    return whole, picture, sound


def merge_into(path: Path, picture: Path, sound: Path, limits: MediaLimits = LIMITS, language: str = "") -> Path:
    with path.open("w+b") as file:
        merge(picture, sound, file, limits, language)
    return path


def write_tracks(path: Path, sound: Path, languages: tuple[str, ...], default: int, codec: str = "") -> Path:
    """The sound as several tracks; one has the default flag, and the first another codec where one is named."""
    with av.open(str(sound)) as source, av.open(str(path), "w") as merged:
        stream = source.streams.audio[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        if codec:
            merged.add_stream(codec, 48_000, layout="stereo")
        targets = [merged.add_stream_from_template(stream) for _ in languages]
        for number, (target, language) in enumerate(zip(targets, languages, strict=True)):
            target.metadata["language"] = language
            target.disposition = Disposition.default if number == default else Disposition(0)
        for packet in packets:
            for target in targets:
                packet.stream = target
                merged.mux_one(packet)
    return path


def list_tracks(path: Path) -> list[tuple[str | None, bool]]:
    with av.open(str(path)) as container:
        return [
            (stream.metadata.get("language"), bool(stream.disposition & Disposition.default))
            for stream in container.streams.audio
        ]


def hash_packets(path: Path, kind: str) -> list[str]:
    """Hash the coded packets without their times."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [hashlib.sha256(bytes(packet)).hexdigest() for packet in container.demux(stream) if packet.size]


def find_moments(clip: Clip) -> tuple[int, float]:
    """The frame of the flash, and when the beep begins, in seconds."""
    flash = next(frame.index for frame in clip.read_frames() if is_flash(frame.image))
    return flash, float(np.flatnonzero(np.abs(clip.audio) > 0.2)[0]) / 16_000


@pytest.mark.parametrize("kind", KINDS)
def test_parts_become_one_film_and_nothing_is_encoded_again(tmp_path: Path, kind: str) -> None:
    whole, picture, sound = write_parts(tmp_path, kind)
    merged = merge_into(tmp_path / "merged", picture, sound)

    if kind != "transport":  # there the same pictures are framed in another way
        assert hash_packets(merged, "video") == hash_packets(picture, "video")
        assert hash_packets(merged, "audio") == hash_packets(sound, "audio")
    one, other = open_clip(merged), open_clip(whole)
    assert (one.n_frames, one.has_audio, one.reasons) == (other.n_frames, True, ())
    assert find_moments(one) == pytest.approx(find_moments(other), abs=0.003)


@pytest.mark.parametrize("late_s", [0.3, 0.8])
def test_late_sound_stays_late(tmp_path: Path, late_s: float) -> None:
    film = Film(codecs=("libx264", "aac"), sound_from_s=late_s)
    whole, picture, sound = write_parts(tmp_path, "mp4", film)
    one, other = open_clip(merge_into(tmp_path / "merged", picture, sound)), open_clip(whole)
    assert find_moments(one) == pytest.approx(find_moments(other), abs=0.003)
    assert np.abs(one.audio_present.astype(int) - other.audio_present.astype(int)).mean() < 0.03


def test_a_turned_picture_stays_turned(tmp_path: Path) -> None:
    film = Film(codecs=("libx264", "aac"), turn=90)
    whole, picture, sound = write_parts(tmp_path, "mp4", film)
    assert open_clip(merge_into(tmp_path / "m", picture, sound)).size_px == open_clip(whole).size_px == film.size_px


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_the_language_of_the_site_is_written_to_the_audio(tmp_path: Path, kind: str) -> None:
    _, picture, sound = write_parts(tmp_path, kind)
    assert list_tracks(merge_into(tmp_path / "a", picture, sound, language="deu"))[0][0] == "deu"
    own = write_tracks(tmp_path / "own.mkv", sound, ("eng", "fra"), 1)
    assert list_tracks(merge_into(tmp_path / "b", picture, own, language="deu")) == [("eng", False), ("fra", True)]


def test_every_readable_audio_track_is_kept_and_others_do_not_count(tmp_path: Path) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    many = write_tracks(tmp_path / "many.mkv", sound, ("eng", "fra", "deu", "ita", "spa", "por"), 5, "tta")
    merged = merge_into(tmp_path / "a", picture, many, MediaLimits(max_streams=3))
    assert list_tracks(merged) == [("eng", False), ("fra", False), ("por", True)]
    assert find_moments(open_clip(merged)) == pytest.approx((25, 1.0), abs=0.03)  # AAC priming: 21 ms


def test_more_than_allowed_is_refused(tmp_path: Path) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    largest = max(picture.stat().st_size, sound.stat().st_size)
    with raises(Code.FILE_TOO_LARGE, match="together"):
        merge_into(tmp_path / "a", picture, sound, MediaLimits(max_bytes=largest + 100))
    with raises(Code.TOO_LONG):
        merge_into(tmp_path / "b", picture, sound, MediaLimits(max_duration_s=1.0))


def test_parts_without_media_are_refused(tmp_path: Path) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    strange = hostile.write_coded(tmp_path / "strange.mkv", "ffv1")
    playlist = hostile.write_playlist(tmp_path / "list.mp4", "hls", picture, 9)
    for parts, error in (
        ((sound, sound), Code.NO_VIDEO),
        ((picture, picture), Code.UNREADABLE_VIDEO),
        ((strange, sound), Code.CODEC_REFUSED),
        ((playlist, sound), Code.UNREADABLE_VIDEO),
        ((picture, playlist), Code.UNREADABLE_VIDEO),
    ):
        with raises(error):
            merge_into(tmp_path / "a", *parts)


def test_damaged_parts_raise_engine_error(tmp_path: Path) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    rng, damaged, answers = np.random.default_rng(0), tmp_path / "damaged", set()
    for number in range(30):
        data = hostile.mutate((picture if number % 2 else sound).read_bytes(), rng)
        damaged.write_bytes(data)
        parts = (damaged, sound) if number % 2 else (picture, damaged)
        try:
            merge_into(tmp_path / "a", *parts)
            answers.add("merged")
        except EngineError as error:
            assert error.code in (Code.UNREADABLE_VIDEO, Code.CODEC_REFUSED, Code.NO_VIDEO, Code.TOO_LONG), number
            answers.add(error.code)
    assert len(answers) > 1


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say in the place of the confined process."""

    def say(kind: str, note: dict[str, object], data: bytes = b"") -> None:
        ours, theirs = socket.socketpair()
        Link(theirs).send(kind, note, data)
        theirs.close()
        start = remux.WorkerProcess

        def begin(*arguments: object) -> remux.WorkerProcess:
            decoder = start(*arguments)  # type: ignore[arg-type]
            decoder._link = Link(ours)
            return decoder

        monkeypatch.setattr(remux, "WorkerProcess", begin)

    return say


@pytest.mark.parametrize(
    ("kind", "note"), [("piece", {"at": -1}), ("piece", {"at": "x"}), ("piece", {}), ("frame", {}), ("scan", {})]
)
def test_nonsense_instead_of_pieces_is_an_error(
    tmp_path: Path, speak: Callable[..., None], kind: str, note: dict[str, object]
) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    speak(kind, note)
    with raises(Code.DECODER_FAILED, match="invalid message"):
        merge(picture, sound, io.BytesIO(), LIMITS)


def test_piece_with_distant_offset_writes_nothing(tmp_path: Path, speak: Callable[..., None]) -> None:
    _, picture, sound = write_parts(tmp_path, "mp4")
    speak("piece", {"at": 2**40}, b"x")
    merged = io.BytesIO()
    with raises(Code.FILE_TOO_LARGE):
        merge(picture, sound, merged, LIMITS)
    assert merged.getvalue() == b""
