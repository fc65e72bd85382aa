"""Containers are identified from the bytes of a file, whatever its name."""

from contextlib import suppress
from pathlib import Path

import pytest
from av import Codec
from av.codec.codec import UnknownCodecError, codecs_available

from engine.errors import Code
from engine.media.clip import open_clip
from engine.media.containers import AUDIO_CODECS, PCM_CODECS, VIDEO_CODECS, WHITELIST, identify_container, is_whole
from tests.clips import CODECS, FLASH_S, write_clip, write_half
from tests.engine.media.test_remux import find_moments
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


def test_a_transport_stream_may_begin_within_a_packet_and_have_parity(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.ts").read_bytes()
    parity = b"".join(data[place : place + 188] + bytes(16) for place in range(0, len(data), 188))
    for number, variant in enumerate((data[100:], parity, parity[190:])):
        path = tmp_path / str(number)
        path.write_bytes(variant)
        assert identify_container(path) == "mpegts" and is_whole(path, "mpegts")
        assert find_moments(open_clip(path)) == pytest.approx((25 * FLASH_S, FLASH_S), abs=0.05)
        path.write_bytes(variant[:-50])
        assert not is_whole(path, "mpegts")


def test_a_program_stream_may_begin_at_a_packet_or_be_of_a_video_cd(tmp_path: Path) -> None:
    data = write_clip(tmp_path / "clip.mpg").read_bytes()
    sectors = [data[place : place + 2048].ljust(2324, b"\0") for place in range(0, len(data), 2048)]  # a pack each
    disc = b"RIFF\0\0\0\0CDXAfmt " + bytes(24) + b"".join(bytes(24) + sector + bytes(4) for sector in sectors)
    for name, variant in (("cut", data[data.index(b"\0\0\x01\xe0") :]), ("disc.dat", disc)):
        (tmp_path / name).write_bytes(variant)
        assert identify_container(tmp_path / name) == "mpeg"
        assert find_moments(open_clip(tmp_path / name)) == pytest.approx((25 * FLASH_S, FLASH_S), abs=0.05)


def test_a_grey_image_is_no_transport_stream(tmp_path: Path) -> None:
    (tmp_path / "grey").write_bytes(b"BM" + b"G" * 5000)
    with raises(Code.UNREADABLE_VIDEO, match="BMP"):
        identify_container(tmp_path / "grey")


def test_a_decoder_of_every_allowed_codec_is_allowed() -> None:
    decoders = [Codec(name, "r") for name in WHITELIST.split(",") if name in _list_decoders()]
    assert {one.canonical_name for one in decoders} == VIDEO_CODECS | AUDIO_CODECS | PCM_CODECS


def _list_decoders() -> set[str]:
    found = set()
    for name in codecs_available:
        with suppress(UnknownCodecError):
            found.add(Codec(name, "r").name)
    return found


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
