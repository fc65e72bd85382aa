"""Files made to do harm get an answer, soon, and reach nothing; the cases of `tests/hostile.py`."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import Code, EngineError
from engine.media.clip import open_clip
from engine.media.sandbox.process import WorkerProcess
from engine.media.scan import WORKER_MODULE
from engine.settings import MediaLimits
from engine.types import Clip
from tests import hostile
from tests.canary import Canary
from tests.clips import Film, write_clip
from tests.raising import raises

N_MUTATED, PARTS = 200, 8
SOON_S = 60.0  # on a machine that is busy; an answer takes a second
READER = """
import resource, sys
from pathlib import Path
from engine.errors import Code, EngineError
from engine.media.clip import open_clip
from engine.media.sandbox.process import start_server
print(next(open_clip(Path(sys.argv[1])).read_frames()).image.shape)
try:
    open_clip(Path(sys.argv[2]))
except EngineError as error:
    assert error.code == Code.TOO_MANY_PIXELS
    start_server("engine.media.worker").close()  # its children, the decoders, are buried: their peak can be read
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, "av" in sys.modules)
"""


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with Canary() as canary:
        yield canary


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of another user, in a folder with a known path."""
    return write_clip(tmp_path_factory.mktemp("other-user") / "other.mp4", Film(duration_s=1.2, size_px=(64, 48)))


def answer(path: Path, limits: MediaLimits | None = None) -> Clip | EngineError:
    """Read the whole file and return the clip, or its error; any other exception fails the test."""
    try:
        clip = open_clip(path, limits or MediaLimits())
        assert sum(1 for _ in clip.read_frames()) == clip.n_frames
    except EngineError as error:
        assert error.message and error.code in {*Code}
        return error
    return clip


def test_canary_records_a_hit(canary: Canary) -> None:
    assert canary.hits() == []
    socket.create_connection(("127.0.0.1", canary.port)).close()
    assert len(canary.hits()) == 1


@pytest.mark.parametrize("kind", sorted(hostile.PLAYLISTS))
def test_a_playlist_named_mp4_reads_nothing_else(foreign: Path, canary: Canary, kind: str) -> None:
    path = hostile.write_playlist(foreign.parent / "film.mp4", kind, foreign, canary.port)
    with raises(Code.UNREADABLE_VIDEO):
        open_clip(path)
    assert canary.hits() == []


@pytest.mark.parametrize("demuxer", ["concat", "hls", "dash", "sdp", "mov", "matroska", "mpegts"])
@pytest.mark.parametrize("kind", sorted(hostile.PLAYLISTS))
def test_a_playlist_taken_for_what_it_is_not_reads_nothing_else(
    foreign: Path, canary: Canary, kind: str, demuxer: str
) -> None:
    path = hostile.write_playlist(foreign.parent / "film.mp4", kind, foreign, canary.port)
    with (
        raises(Code.UNREADABLE_VIDEO),
        WorkerProcess(WORKER_MODULE, path, "scan", {"demuxer": demuxer}, b"", MediaLimits()) as decoder,
    ):
        while True:
            decoder.receive()
    assert canary.hits() == []


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile.write_bomb(tmp_path_factory.mktemp("bomb") / "bomb.mp4")


def test_a_pixel_bomb_is_refused_soon(bomb: Path) -> None:
    assert bomb.stat().st_size < 210_000
    began = time.monotonic()
    with raises(Code.TOO_MANY_PIXELS, match="8192 x 8192"):
        open_clip(bomb)
    assert time.monotonic() - began < SOON_S


def test_the_engine_decodes_nothing_itself_and_a_bomb_takes_little_memory(foreign: Path, bomb: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(foreign), str(bomb)], capture_output=True, text=True, check=True
    )
    shape, measured = done.stdout.splitlines()
    peak_gb, has_loaded_a_decoder = measured.split()
    assert shape == "(48, 64, 3)" and has_loaded_a_decoder == "False"
    assert 0.01 < float(peak_gb) < 1.5


def test_memory_limit_stops_a_bomb_without_pixel_limit(tmp_path: Path) -> None:
    """Without the limit on pixels, the memory is what stops it; some decoders crash where others say so."""
    path = hostile.write_repeated(tmp_path / "bomb.mp4", (4096, 4096), np.arange(100) / 25, is_skipped=True)
    limits = MediaLimits(max_pixels=2**26, max_memory_bytes=400 * 2**20)
    error = answer(path, limits)
    assert error.code in (Code.DECODING_TOO_LARGE, Code.DECODER_FAILED) and "1080p" in error.hint, error


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_duration_of_a_day_is_refused(tmp_path: Path, suffix: str) -> None:
    path = hostile.write_repeated(tmp_path / f"day{suffix}", (64, 48), np.arange(1441) * 60.0)
    began = time.monotonic()
    with raises(Code.TOO_LONG):
        open_clip(path)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("count", [300, 3000])
def test_a_thousand_pictures_a_second_are_refused(tmp_path: Path, suffix: str, count: int) -> None:
    path = hostile.write_repeated(tmp_path / f"fast{suffix}", (64, 48), np.arange(count) / 1000)
    with raises(Code.RATE_TOO_HIGH, match="120 pictures a second"):
        open_clip(path)


@pytest.mark.parametrize("rate", [119.88, 120.0])
def test_the_fastest_camera_allowed_is_read(tmp_path: Path, rate: float) -> None:
    path = hostile.write_repeated(tmp_path / "fast.mp4", (64, 48), np.arange(360) / rate)
    assert open_clip(path).source_fps == pytest.approx(rate, rel=1e-3)


def test_what_the_header_claims_is_not_what_counts(tmp_path: Path) -> None:
    path = hostile.write_lie(tmp_path / "lie.mkv", 10.0, np.arange(2000) / 2)
    with av.open(str(path)) as container:
        assert container.duration == 10 * av.time_base, "the header does not lie"
    with raises(Code.TOO_LONG, match="at most 900"):
        open_clip(path)
    with raises(Code.TOO_MANY_PICTURES, match="more than the 500"):
        open_clip(path, MediaLimits(max_source_frames=500))


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        (".avi", "magicyuv", "gbrp"),
        (".mkv", "ffv1", "yuv420p"),
        (".avi", "huffyuv", "yuv422p"),
        (".avi", "utvideo", "yuv422p"),
        (".mov", "cinepak", "rgb24"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".avi", "snow", "yuv420p"),
    ],
)
def test_unsupported_pixel_formats_are_refused_before_decoding(
    tmp_path: Path, suffix: str, codec: str, pixel_format: str
) -> None:
    path = hostile.write_coded(tmp_path / f"strange{suffix}", codec, None, pixel_format)
    with raises(Code.CODEC_REFUSED, match="coded as"):
        open_clip(path)


@pytest.mark.parametrize(
    ("suffix", "codecs"),
    [
        (".webm", ("libvpx-vp9", "libopus")),
        (".mov", ("mjpeg", "libmp3lame")),
        (".mkv", ("mpeg1video", "flac")),
        (".avi", ("msmpeg4", "mp2")),
        (".avi", ("msmpeg4v2", "pcm_s32le")),
        (".avi", ("flv", "pcm_s24le")),
        (".avi", ("h263p", "pcm_mulaw")),
        (".mov", ("mpeg4", "pcm_s24be")),
    ],
)
def test_common_codings_are_read(tmp_path: Path, suffix: str, codecs: tuple[str, str]) -> None:
    path = hostile.write_coded(tmp_path / f"common{suffix}", *codecs, "yuvj420p" if codecs[0] == "mjpeg" else "yuv420p")
    clip = answer(path)
    assert isinstance(clip, Clip) and clip.has_audio and clip.n_frames >= 12


def test_aac_in_the_framing_of_broadcasters_is_read(tmp_path: Path) -> None:
    film = Film(codecs=("mpeg2video", "aac"), options=(("mpegts_flags", "latm"),))
    path = write_clip(tmp_path / "latm.ts", film)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac_latm"
    clip = answer(path)
    assert isinstance(clip, Clip) and np.abs(clip.audio).max() > 0.4


def test_unsupported_audio_codec_is_refused_and_not_taken_for_silence(tmp_path: Path) -> None:
    path = hostile.write_coded(tmp_path / "strange.avi", "mpeg4", "adpcm_ms")
    with raises(Code.CODEC_REFUSED, match="audio is coded as 'adpcm_ms'"):
        open_clip(path)


@pytest.mark.parametrize(("channels", "rate_hz"), [(9, 48_000), (255, 48_000), (8, 384_000)])
def test_more_sound_at_once_than_allowed_is_refused(tmp_path: Path, channels: int, rate_hz: int) -> None:
    with raises(Code.SOUND_TOO_LARGE, match=f"{channels} channels at {rate_hz} Hz"):
        open_clip(hostile.write_channels(tmp_path / "loud.mkv", channels, rate_hz))


def test_eight_channels_are_read(tmp_path: Path) -> None:
    assert open_clip(hostile.write_channels(tmp_path / "loud.mkv", 8)).has_audio


def test_many_streams_are_read_and_more_refused(tmp_path: Path) -> None:
    assert open_clip(hostile.write_streams(tmp_path / "many.mp4", 32)).has_audio
    with raises(Code.TOO_MANY_STREAMS, match="33 streams"):
        open_clip(hostile.write_streams(tmp_path / "more.mp4", 33))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [path.read_bytes() for path in hostile.write_seeds(tmp_path_factory.mktemp("seeds"))]


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_files_give_result_or_engine_error(seeds: list[bytes], tmp_path: Path, part: int) -> None:
    rng = np.random.default_rng(part)
    path, answers = tmp_path / "damaged", []
    for number in range(N_MUTATED // PARTS):
        path.write_bytes(hostile.mutate(seeds[(part + number) % len(seeds)], rng))
        began = time.monotonic()
        answers.append(answer(path))
        assert time.monotonic() - began < 60
    assert any(isinstance(one, Clip) for one in answers) and any(isinstance(one, EngineError) for one in answers)
    crashed = [one.message for one in answers if isinstance(one, EngineError) and one.code == "DECODER_FAILED"]
    assert not crashed, crashed


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Pictures are handed on one by one: forty seconds of them take no more memory than two."""
    path = hostile.write_repeated(tmp_path / "long.mp4", (640, 480), np.arange(1000) / 25, is_skipped=True)
    before = 0
    for number, _ in enumerate(open_clip(path).read_frames()):
        if number == 50:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # of 900 MB
