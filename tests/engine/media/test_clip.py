"""Every container, frame rate and channel layout on one clock; errors name the reason; prefetching."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.errors import Code
from engine.media.clip import open_at_source_rate, open_clip, read_ahead
from engine.media.frames import FrameSource
from engine.settings import MediaLimits
from engine.types import FPS, SAMPLE_RATE, Clip, Frame, MediaSelection, Reason
from tests.clips import (
    CODECS,
    RATES,
    Film,
    draw_picture,
    is_flash,
    read_time,
    write_clip,
    write_cover,
    write_half,
    write_sound_file,
)
from tests.raising import raises

FRAGMENTED = (("movflags", "frag_keyframe+delay_moov+default_base_moof"),)
FRAME_S = 1 / FPS
OUT_OF_ORDER = (("preset", "medium"), ("bf", "3"))  # pictures stored out of order
PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile other.mp4\n",
    "hls": "#EXTM3U\n#EXTINF:1,\nother.ts\n",
    "dash": '<?xml version="1.0"?>\n<MPD><BaseURL>http://127.0.0.1/other.mp4</BaseURL></MPD>\n',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}

Write = Callable[..., Path]


@dataclass(frozen=True)
class ReadFrames:
    """All frames of a clip, and what its reader returned at the end."""

    frames: list[Frame]
    reasons: tuple[Reason, ...]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Makes each film once: `write(".mp4", turn=90)`."""
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def write_once(suffix: str = ".mp4", **what: object) -> Path:
        film = Film(**what)
        if (suffix, film) not in made:
            made[suffix, film] = write_clip(folder / f"{len(made)}{suffix}", film)
        return made[suffix, film]

    return write_once


def read_all(clip: Clip) -> ReadFrames:
    frames, reader = [], clip.read_frames()
    while True:
        try:
            frames.append(next(reader))
        except StopIteration as end:
            return ReadFrames(frames, end.value)


def find_flash(clip: Clip) -> int:
    return next(frame.index for frame in clip.read_frames() if is_flash(frame.image))


def find_beep(clip: Clip) -> int:
    """The frame in which the beep begins."""
    loud = np.abs(clip.audio) > 0.2
    assert loud.any(), "no beep found"
    return int(np.argmax(loud)) * FPS // SAMPLE_RATE


@pytest.mark.parametrize("suffix", sorted(CODECS))
@pytest.mark.parametrize("rate", sorted(RATES))
def test_flash_and_beep_meet_in_every_container_and_rate(write: Write, suffix: str, rate: str) -> None:
    clip = open_clip(write(suffix, rate=RATES[rate]))
    film = Film(rate=RATES[rate])
    assert abs(find_flash(clip) - film.flash_s * FPS) <= 1
    assert abs(find_beep(clip) - film.flash_s * FPS) <= 1
    assert clip.source_fps == pytest.approx(float(RATES[rate]), rel=2e-3)
    assert clip.reasons == ()


@pytest.mark.parametrize("suffix", sorted(CODECS))
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_flash_and_beep_meet_in_every_channel_layout(write: Write, suffix: str, layout: str) -> None:
    codecs = ("mpeg2video", "ac3") if suffix == ".mpg" else None  # MP2 has two channels at most
    clip = open_clip(write(suffix, layout=layout, codecs=codecs))
    assert abs(find_flash(clip) - find_beep(clip)) <= 1
    assert 0.4 < np.abs(clip.audio).max() < 0.65  # made at 0.5: neither lost in the mix nor louder for it


@pytest.mark.parametrize("rate", sorted(RATES))
def test_every_frame_shows_the_picture_of_its_time(write: Write, rate: str) -> None:
    film = Film(rate=RATES[rate])
    frames = read_all(open_clip(write(".mp4", rate=RATES[rate]))).frames
    assert [frame.index for frame in frames] == list(range(40))
    errors = [read_time(frame.image, film) - frame.index / FPS for frame in frames]
    assert np.abs(errors).max() < 0.5 * max(FRAME_S, 1 / RATES[rate]) + 0.005


@pytest.mark.parametrize("rate", sorted(RATES))
def test_on_its_own_clock_every_picture_of_the_file_is_shown_once(write: Write, rate: str) -> None:
    film = Film(rate=RATES[rate], size_px=(480, 40))
    own = open_at_source_rate(write(".mp4", rate=film.rate, size_px=film.size_px))
    assert own.rate == film.rate and own.n_frames == len(film.picture_times_s)
    frames = list(own.read_frames())
    assert [frame.index for frame in frames] == list(range(own.n_frames)) and all(frame.is_new for frame in frames)
    result = [read_time(frame.image, film) for frame in frames]
    assert np.abs(np.array(result) - film.picture_times_s).max() < 0.01


def test_where_the_rate_varies_the_own_clock_is_the_engines(write: Write) -> None:
    times_s = tuple(np.cumsum([0.0, *[0.02, 0.08] * 15]))
    own = open_at_source_rate(write(".mp4", times_s=times_s, duration_s=1.6))
    assert own.rate == FPS
    assert own.n_frames == pytest.approx(times_s[-1] * FPS, abs=2)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "libx264")])
def test_pictures_stored_out_of_order_are_shown_in_order(write: Write, suffix: str, codec: str) -> None:
    path = write(suffix, codecs=(codec, CODECS[suffix][1]), picture_options=OUT_OF_ORDER)
    times = [read_time(frame.image, Film()) for frame in read_all(open_clip(path)).frames]
    assert np.abs(np.array(times) - np.arange(40) / FPS).max() < 0.01


def test_the_clip_states_what_it_holds(write: Write) -> None:
    path = write(".mp4")
    clip = open_clip(path)
    assert clip.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (clip.n_frames, clip.duration_s, clip.size_px, clip.has_audio) == (40, 1.6, (160, 120), True)
    assert clip.audio.dtype == np.float32
    assert clip.audio_present.all()


def test_a_known_hash_is_taken_over(write: Write) -> None:
    assert open_clip(write(".mp4"), sha256="ab" * 32).sha256 == "ab" * 32


def test_each_reading_starts_again(write: Write) -> None:
    clip = open_clip(write(".mp4"))
    first, second = read_all(clip).frames, read_all(clip).frames
    assert len(first) == len(second) == 40
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_a_held_picture_is_not_new(write: Write) -> None:
    held = [frame.is_new for frame in read_all(open_clip(write(".mp4", rate=RATES["23.976"]))).frames]
    assert held.count(False) == 2  # 38 pictures over 40 frames
    assert all(frame.is_new for frame in read_all(open_clip(write(".mp4", rate=RATES["50"]))).frames)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_picture_is_set_upright(write: Write, turn: int) -> None:
    film = Film(size_px=(120, 160), turn=turn)
    clip = open_clip(write(".mp4", size_px=(120, 160), turn=turn))
    assert clip.size_px == (120, 160)
    image = next(clip.read_frames()).image
    assert image.shape == (160, 120, 3)
    assert np.abs(image.astype(int) - draw_picture(0.0, film)).mean() < 8
    assert find_flash(clip) == find_beep(clip) == FPS


def test_upright_is_what_another_player_shows(write: Write) -> None:
    path = write(".mp4", size_px=(120, 160), turn=90)
    seen, other = cv2.VideoCapture(str(path)).read()
    assert seen
    ours = next(open_clip(path).read_frames()).image
    assert np.abs(ours.astype(int) - cv2.cvtColor(other, cv2.COLOR_BGR2RGB)).mean() < 8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_odd_sizes_are_kept(write: Write, suffix: str) -> None:
    clip = open_clip(write(suffix, size_px=(161, 121)))
    assert clip.size_px == (161, 121)
    assert next(clip.read_frames()).image.shape == (121, 161, 3)


def test_oblong_pixels_are_made_square(write: Write) -> None:
    clip = open_clip(write(".mp4", aspect=Fraction(4, 3)))
    assert clip.size_px == (213, 120)
    assert next(clip.read_frames()).image.shape == (120, 213, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".mpg", ".ts"])
def test_late_sound_stays_late(write: Write, suffix: str) -> None:
    clip = open_clip(write(suffix, sound_from_s=0.457))
    first_s = np.argmax(np.abs(clip.audio) > 1e-5) / SAMPLE_RATE
    assert first_s == pytest.approx(0.457, abs=0.04)
    assert not clip.audio_present[:10].any()
    assert clip.audio_present[13:-1].all()
    assert abs(find_beep(clip) - FPS) <= 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mpg"])
def test_a_gap_in_the_sound_is_silent_marked_and_moves_nothing(write: Write, suffix: str) -> None:
    clip = open_clip(write(suffix, gap_s=(0.4, 0.8)))
    assert clip.audio_present[:9].all()
    assert not clip.audio_present[12:19].any()
    assert clip.audio_present[22:-1].all()
    assert not clip.audio[12 * 640 : 19 * 640].any()
    assert abs(find_beep(clip) - FPS) <= 1


def test_what_an_edit_list_hides_is_not_there(write: Write) -> None:
    film = Film(cut_s=0.4)
    clip = open_clip(write(".mp4", cut_s=0.4))
    assert clip.n_frames == 30
    assert read_time(next(clip.read_frames()).image, film) == pytest.approx(0.4, abs=0.01)
    assert find_flash(clip) == find_beep(clip) == 15


def test_no_sound_is_marked_as_absent(write: Write) -> None:
    clip = open_clip(write(".mp4", layout=None))
    assert not clip.has_audio
    assert not clip.audio_present.any()
    assert not clip.audio.any()


def test_silence_is_sound_that_is_there(write: Write) -> None:
    clip = open_clip(write(".mp4", silent=True))
    assert clip.has_audio
    assert clip.audio_present.all()
    assert np.abs(clip.audio).max() < 1e-4


def vary_times(share: float) -> tuple[float, ...]:
    """Times of frames over 1.6 s at 30 fps, with this share of the intervals three times as long."""
    rng, times = np.random.default_rng(0), [0.0]
    while times[-1] < 1.6:
        times.append(times[-1] + (3 if rng.random() < share else 1) / 30)
    return tuple(times[:-1])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_varying_rate_keeps_time_and_is_reported(write: Write, suffix: str) -> None:
    times = vary_times(0.4)
    film = Film(times_s=times)
    clip = open_clip(write(suffix, times_s=times))
    assert Reason.FPS_VFR in clip.reasons
    due = np.array(times)
    for frame in read_all(clip).frames:
        shown = read_time(frame.image, film)
        latest = due[due <= frame.index / FPS + 0.021].max()
        assert shown == pytest.approx(latest, abs=0.012)
    assert abs(find_beep(clip) - film.flash_s * FPS) <= 1


def test_a_few_dropped_pictures_are_not_a_varying_rate(write: Write) -> None:
    times = vary_times(0.08)
    assert max(np.diff(times)) > 0.09  # some are dropped
    assert open_clip(write(".mp4", times_s=times)).reasons == ()


@pytest.mark.parametrize(("rate", "reasons"), [(12, (Reason.FPS_VFR,)), (15, ())])
def test_too_few_pictures_a_second_are_reported(write: Write, rate: int, reasons: tuple[Reason, ...]) -> None:
    assert open_clip(write(".mp4", rate=Fraction(rate))).reasons == reasons


def test_pictures_that_only_repeat_are_reported_at_the_end(write: Write) -> None:
    clip = open_clip(write(".mp4", repeat=2, picture_options=(("qp", "0"),)))
    assert clip.reasons == ()
    assert read_all(clip).reasons == (Reason.FPS_VFR,)
    assert read_all(open_clip(write(".mp4"))).reasons == ()


@pytest.mark.parametrize("suffix", sorted(CODECS))
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_file_cut_short_says_so(write: Write, tmp_path: Path, suffix: str, share: float) -> None:
    options = (("movflags", "faststart"),) if suffix in (".mp4", ".mov") else ()
    whole = write(suffix, options=options)
    assert open_clip(whole).reasons == ()
    clip = open_clip(write_half(whole, tmp_path / f"cut{suffix}", share))
    assert Reason.TRUNCATED in clip.reasons
    assert len(read_all(clip).frames) == clip.n_frames


def test_half_a_plain_mp4_has_no_index(write: Write, tmp_path: Path) -> None:
    with raises(Code.UNREADABLE_VIDEO, match="truncated"):
        open_clip(write_half(write(".mp4"), tmp_path / "half.mp4"))


def test_half_a_fragmented_mp4_is_read_and_says_so(write: Write, tmp_path: Path) -> None:
    clip = open_clip(write_half(write(".mp4", options=FRAGMENTED), tmp_path / "half.mp4"))
    assert Reason.TRUNCATED in clip.reasons
    assert 10 <= clip.n_frames < 40
    assert len(read_all(clip).frames) == clip.n_frames


def test_damage_in_the_pictures_is_reported_and_every_frame_is_returned(write: Write, tmp_path: Path) -> None:
    data = bytearray(write(".mp4", layout=None, options=(("movflags", "faststart"),)).read_bytes())
    start = data.index(b"mdat") + 2000
    for place in np.random.default_rng(0).integers(start, len(data), len(data) // 50):
        data[place] ^= 0xFF
    (tmp_path / "noise.mp4").write_bytes(data)
    clip = open_clip(tmp_path / "noise.mp4")
    seen = read_all(clip)
    assert [frame.index for frame in seen.frames] == list(range(40))
    assert Reason.TRUNCATED in seen.reasons


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"", "empty"), (b"a letter to a friend\n" * 30, "text"), (b"%PDF-1.7\n", "PDF"), (b"PK\x03\x04" * 9, "ZIP")],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, found: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(data)
    with raises(Code.UNREADABLE_VIDEO, match=found) as caught:
        open_clip(tmp_path / "clip.mp4")
    assert "Accepted: MP4" in caught.value.message
    assert caught.value.hint


def test_an_image_named_mp4_is_named(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(cv2.imencode(".png", draw_picture(0.0, Film()))[1].tobytes())
    with raises(Code.UNREADABLE_VIDEO, match="PNG"):
        open_clip(tmp_path / "clip.mp4")


@pytest.mark.parametrize("kind", sorted(PLAYLISTS))
def test_a_playlist_opens_no_other_file(write: Write, tmp_path: Path, kind: str) -> None:
    write_half(write(".mp4"), tmp_path / "other.mp4", 1.0)
    write_half(write(".ts"), tmp_path / "other.ts", 1.0)
    (tmp_path / "clip.mp4").write_text(PLAYLISTS[kind])
    with raises(Code.UNREADABLE_VIDEO, match="playlist"):
        open_clip(tmp_path / "clip.mp4")


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with raises(Code.UNREADABLE_VIDEO, match=r"no file 'none\.mp4'"):
        open_clip(tmp_path / "none.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".wav"])
def test_sound_alone_is_no_video(tmp_path: Path, suffix: str) -> None:
    with raises(Code.NO_VIDEO):
        open_clip(write_sound_file(tmp_path / f"sound{suffix}"))


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    path = write_cover(tmp_path / "song.mp4")
    with av.open(str(path)) as container:
        assert container.streams.video, "the cover is not in the file"
    with raises(Code.NO_VIDEO):
        open_clip(path)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (MediaLimits(max_duration_s=1.5), Code.TOO_LONG),
        (MediaLimits(max_pixels=160 * 120 - 1), Code.TOO_MANY_PIXELS),
        (MediaLimits(max_source_frames=39), Code.TOO_MANY_PICTURES),
        (MediaLimits(max_bytes=1000), Code.FILE_TOO_LARGE),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mpg"])
def test_more_than_allowed_is_refused(write: Write, suffix: str, limits: MediaLimits, code: str) -> None:
    with raises(code, match="allowed"):
        open_clip(write(suffix), limits)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mpg"])
def test_exactly_as_much_as_allowed_is_read(write: Write, suffix: str) -> None:
    size = write(suffix).stat().st_size
    assert open_clip(write(suffix), MediaLimits(1.6, 160 * 120, 40, size)).n_frames == 40


def test_frames_left_unread_end_the_process_that_decodes_them(write: Write) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files are listed on Linux alone")
    clip = open_clip(write(".mp4"))
    before = len(list(folder.iterdir()))
    reader = clip.read_frames()
    next(reader)
    assert len(list(folder.iterdir())) > before
    reader.close()
    assert len(list(folder.iterdir())) == before


@pytest.mark.timeout(100)
def test_reading_ahead_keeps_order_and_is_bounded():
    taken: list[int] = []

    def count() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    items = read_ahead(count(), depth=3)
    assert next(items) == 0
    end = time.monotonic() + 60
    while len(taken) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)  # time to take more than it may
    assert 4 <= len(taken) <= 5
    assert list(items) == list(range(1, 50))


@pytest.mark.timeout(100)
def test_reading_ahead_that_is_abandoned_closes_its_source_and_its_thread():
    closed = threading.Event()

    def count() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    items = read_ahead(count())
    next(items)
    items.close()  # type: ignore[attr-defined]

    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.timeout(100)
def test_reading_ahead_works_while_the_reader_does():
    started = [threading.Event() for _ in range(10)]

    def count() -> Iterator[int]:
        for number, event in enumerate(started):
            event.set()
            yield number

    for number in read_ahead(count()):
        assert all(event.wait(60) for event in started[: number + 2])  # the next one too, while this one is held


@pytest.mark.parametrize("suffix", sorted(CODECS))
@pytest.mark.parametrize("bounds_s", [(0.0, 0.8), (0.52, 1.2), (0.9, None)])
def test_a_range_has_the_pictures_and_the_sound_of_its_time(
    write: Write, suffix: str, bounds_s: tuple[float, float | None]
) -> None:
    path, (from_s, to_s) = write(suffix, picture_options=(("g", "8"),)), bounds_s
    whole, part = open_clip(path), open_clip(path, selection=MediaSelection(from_s, to_s))
    first = round(from_s * FPS)
    last = whole.n_frames if to_s is None else round(to_s * FPS)
    assert part.n_frames == last - first
    assert (part.media.from_s, part.media.to_s) == pytest.approx((first / FPS, last / FPS))
    expected = [frame.image for frame in whole.read_frames()][first:last]
    for frame, image in zip(part.read_frames(), expected, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 3
    sound = whole.audio[first * SAMPLE_RATE // FPS : last * SAMPLE_RATE // FPS]
    assert np.abs(part.audio - sound).max() < 0.02


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A film of 50 s, with a key frame every 2 s."""
    folder = tmp_path_factory.mktemp("long")
    film = Film(duration_s=50.0, size_px=(64, 48), picture_options=(("g", "50"),))
    made: dict[str, Path] = {}
    return lambda suffix: made.setdefault(suffix, write_clip(folder / f"long{suffix}", film))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_of_a_range_far_inside_nothing_before_is_decoded(long: Callable[[str], Path], suffix: str) -> None:
    film = Film(duration_s=50.0, size_px=(64, 48))
    clip = open_clip(long(suffix), selection=MediaSelection(41.0, 42.0))
    frames = list(clip.read_frames())
    assert [frame.index for frame in frames] == list(range(25))
    assert [read_time(frame.image, film) for frame in frames] == pytest.approx(
        list(41.0 + np.arange(25) / FPS), abs=1.0
    )
    assert clip.audio_present.all()
    assert isinstance(clip.read_frames, FrameSource)
    plan = clip.read_frames.plan
    assert plan.times_s[0] > 38.9  # the frames from the key frame before the range on
    assert (plan.start.seek_s is not None) == (suffix in (".mp4", ".mkv"))
    assert plan.start.n_skipped < 60 if plan.start.seek_s else plan.start.n_skipped > 900


def test_limits_count_the_range_and_not_the_file(long: Callable[[str], Path]) -> None:
    limits = MediaLimits(max_duration_s=2.0, max_source_frames=50)
    assert open_clip(long(".mp4"), limits, selection=MediaSelection(20.0, 22.0)).n_frames == 50
    assert open_clip(long(".ts"), limits, selection=MediaSelection(48.0)).n_frames == 50
    with raises(Code.TOO_LONG):
        open_clip(long(".mp4"), MediaLimits(max_duration_s=2.0), selection=MediaSelection(20.0, 23.0))
    with raises(Code.TOO_MANY_PICTURES):
        open_clip(long(".mp4"), MediaLimits(max_source_frames=50), selection=MediaSelection(20.0, 23.0))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (MediaSelection(60.0), "begins at 60.0 s, and the last picture is at 50.0 s"),
        (MediaSelection(3.0, 3.0), "from 3 s to 3 s holds no picture"),
        (MediaSelection(audio_track=2), "Audio track 2 was asked for, and the file has 1 audio track"),
        (MediaSelection(channel="BL"), "Channel BL was asked for, and audio track 1 has FL, FR"),
    ],
)
def test_what_the_file_does_not_have_is_refused(
    long: Callable[[str], Path], selection: MediaSelection, message: str
) -> None:
    with raises(Code.BAD_SELECTION, match=message):
        open_clip(long(".mp4"), selection=selection)


@pytest.mark.parametrize(("size", "aspect"), [((120, 160), 1), ((160, 90), 1), ((80, 60), 1), ((160, 120), 2)])
def test_pictures_that_change_size_keep_their_shape(
    tmp_path: Path, write: Write, size: tuple[int, int], aspect: int
) -> None:
    """The second part is of another size or pixel shape, and of a lit lower half from 1.0 to 1.1 s."""
    first = write(".ts")
    other = Film(size_px=size, aspect=Fraction(aspect), cut_s=-1.6)
    second = write_clip(tmp_path / "second.ts", other)
    (tmp_path / "both.ts").write_bytes(first.read_bytes() + second.read_bytes())
    clip = open_clip(tmp_path / "both.ts")
    assert clip.size_px == (160, 120)
    image = list(clip.read_frames())[-6].image
    width, height = size[0] * aspect, size[1]
    scale = min(160 / width, 120 / height)
    rows, columns = np.flatnonzero(image.max(axis=(1, 2)) > 8), np.flatnonzero(image.max(axis=(0, 2)) > 8)
    assert len(rows) == pytest.approx(height * scale, abs=3) and len(columns) == pytest.approx(width * scale, abs=3)
