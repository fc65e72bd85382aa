"""Containers are identified from the bytes of a file, whatever its name."""

from pathlib import Path

import pytest

from engine.errors import Code
from engine.media.containers import identify_container, is_whole
from tests.clips import CODECS, write_clip, write_half
from tests.raising import raises

DEMUXERS = {
    ".mp4": "mov",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
    ".mpg": "mpeg",
    ".ts": "mpegts",
}


@pytest.fixture(scope="module", params=sorted(CODECS))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / f"clip{request.param}")


def test_a_video_is_known_under_any_name(clip: Path, tmp_path: Path) -> None:
    renamed = write_half(clip, tmp_path / "clip.pdf", 1.0)
    assert identify_container(renamed) == DEMUXERS[clip.suffix]
    assert is_whole(renamed, DEMUXERS[clip.suffix])


def test_one_missing_byte_is_noticed(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "cut").write_bytes(data[:-2])  # AVI may leave out one byte of padding
    assert not is_whole(tmp_path / "cut", DEMUXERS[clip.suffix])


def test_an_appended_note_is_no_damage(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mp4")
    whole.write_bytes(whole.read_bytes() + b"\0\0\0\0\0\0\0\0 written by a camera")
    assert is_whole(whole, "mov")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"FLV\x01\x05", "Flash"),
        (b"\0\0\x01\xb3", "without timestamps"),
        (b"G is for goose\n" * 300, "text"),
        ("Grüße aus Köln".encode(), "text"),
        (b"\x01\x02\0\x03", "unknown"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, head: bytes, found: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(head)
    with raises(Code.UNREADABLE_VIDEO, match=found):
        identify_container(tmp_path / "clip.mp4")


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WAVE", b"ID3\x04", b"fLaC\0"])
def test_sound_is_named_as_no_video(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(head)
    with raises(Code.NO_VIDEO, match="audio"):
        identify_container(tmp_path / "clip.mp4")


@pytest.mark.parametrize("demuxer", sorted(set(DEMUXERS.values()) - {"mov"}))
@pytest.mark.parametrize("data", [b"", b"\0", b"\x1a\x45\xdf\xa3", b"RIFF", b"\0" * 200, b"\xff" * 200])
def test_random_bytes_raise_no_exception(tmp_path: Path, demuxer: str, data: bytes) -> None:
    (tmp_path / "clip").write_bytes(data)
    assert is_whole(tmp_path / "clip", demuxer) in (True, False)
