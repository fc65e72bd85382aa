"""A range of frames holds the very frames of the whole stream, wherever decoding begins."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engine.media.clip import open_clip
from engine.media.frames import FrameSource, KeyFrames
from engine.media.scan import StreamEnd, VideoStart
from engine.types import FPS, Frame, MediaSelection, Reason
from tests.clips import Film, write_clip

SIZE = (320, 48)
H264 = (("g", "25"), ("bf", "3"), ("preset", "medium"), ("crf", "18"))
SPARSE = tuple(np.cumsum([0.04, 0.2, 0.04, 0.02, 0.11, 0.3] * 9).round(3).tolist())
FILMS: dict[str, tuple[str, Film]] = {
    "closed groups with B frames": (".mp4", Film(6.0, size_px=SIZE, picture_options=H264)),
    "open groups": (".mp4", Film(6.0, size_px=SIZE, picture_options=(*H264, ("x264-params", "open-gop=1")))),
    "open groups in a transport stream": (
        ".ts",
        Film(6.0, size_px=SIZE, picture_options=(*H264, ("x264-params", "open-gop=1"))),
    ),
    "refreshed line by line": (".mp4", Film(6.0, size_px=SIZE, picture_options=(*H264, ("intra-refresh", "1")))),
    "refreshed line by line, in a transport stream": (
        ".ts",
        Film(6.0, size_px=SIZE, picture_options=(*H264, ("intra-refresh", "1"))),
    ),
    "one key frame": (".mkv", Film(6.0, size_px=SIZE, picture_options=(("g", "1000"),))),
    "WebM": (".webm", Film(6.0, size_px=SIZE, picture_options=(("g", "20"),))),
    "AVI": (".avi", Film(6.0, size_px=SIZE, picture_options=(("g", "20"),))),
    "MPEG-2 with B frames": (".mpg", Film(6.0, size_px=SIZE, picture_options=(("g", "12"), ("bf", "2")))),
    "edit list": (".mp4", Film(6.0, size_px=SIZE, cut_s=0.4, picture_options=(("g", "25"),))),
    "variable rate": (".mp4", Film(float(SPARSE[-1]) + 0.1, times_s=SPARSE, size_px=SIZE, picture_options=H264)),
    "12 frames a second": (".mp4", Film(6.0, Fraction(12), size_px=SIZE, picture_options=H264)),
    "60 frames a second": (".mkv", Film(6.0, Fraction(60), size_px=SIZE, picture_options=H264)),
}
RANGES = ((0, 40), (37, 61), (75, 76), (100, None))


@pytest.fixture(scope="module", params=sorted(FILMS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FrameSource:
    suffix, film = FILMS[request.param]
    return read_source(write_clip(tmp_path_factory.mktemp("films") / f"film{suffix}", film))


def read_source(path: Path, selection: MediaSelection | None = None) -> FrameSource:
    frames = open_clip(path, selection=selection or MediaSelection()).read_frames
    assert isinstance(frames, FrameSource)
    return frames


def read(source: FrameSource, first: int, last: int) -> tuple[list[Frame], StreamEnd]:
    found, frames = [], source.read_range(first, last)
    while True:
        try:
            found.append(next(frames))
        except StopIteration as end:
            return found, end.value


def check_ranges(source: FrameSource, ranges: tuple[tuple[int, int | None], ...] = RANGES) -> None:
    n_frames = source.plan.n_frames
    whole, _ = read(source, 0, n_frames)
    assert len(whole) == n_frames > 100
    for first, last in ranges:
        part, _ = read(source, first, last or n_frames)
        assert [frame.index for frame in part] == list(range(first, last or n_frames))
        for frame, other in zip(part, whole[first:last], strict=True):
            np.testing.assert_array_equal(frame.image, other.image)
        assert part[0].is_new
        assert [frame.is_new for frame in part[1:]] == [frame.is_new for frame in whole[first:last][1:]]


def test_the_frames_of_a_range_are_those_of_the_whole(source: FrameSource) -> None:
    check_ranges(source)


def test_the_frames_behind_a_restart_of_the_clock_are_those_of_the_whole(tmp_path: Path) -> None:
    film = Film(3.0, size_px=SIZE, picture_options=H264)
    parts = [write_clip(tmp_path / f"{number}.ts", film).read_bytes() for number in range(2)]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    source = read_source(tmp_path / "both.ts")
    assert source.plan.shifts
    check_ranges(source, ((60, 90), (80, 110), (100, 150)))


def test_the_frames_of_a_range_of_a_part_are_those_of_the_part(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mp4", Film(8.0, size_px=SIZE, picture_options=H264))
    check_ranges(read_source(path, MediaSelection(2.0, 7.0)), ((40, 80),))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], FrameSource]:
    folder = tmp_path_factory.mktemp("key frames")
    made: dict[str, FrameSource] = {}
    options = Film(6.0, size_px=SIZE, picture_options=(("g", "25"), ("bf", "0")))
    return lambda suffix: made.setdefault(suffix, read_source(write_clip(folder / f"film{suffix}", options)))


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".webm"])
def test_decoding_begins_at_the_key_frame_before(film: Callable[[str], FrameSource], suffix: str) -> None:
    source = film(suffix)
    counts = read(source, 110, 120)[1]
    assert counts.n_shown == 10 and counts.n_decoded <= 12
    assert source.measure_lead(110) == 10 and source.measure_lead(100) == 0


def test_avi_is_decoded_from_its_start(film: Callable[[str], FrameSource]) -> None:
    assert film(".avi").measure_lead(110) == 110


def test_containers_with_an_index_are_searched(film: Callable[[str], FrameSource]) -> None:
    plan = film(".mp4")._plan_range(110, 120)
    assert plan.nearer[0].seek_s == pytest.approx(4.0) and plan.nearer[1] == VideoStart(None, 100)
    assert film(".ts")._plan_range(110, 120).nearer == (VideoStart(None, 100),)


@pytest.mark.parametrize("packet", [0, 30, 113, 149])
def test_a_start_that_is_no_key_frame_is_not_trusted(film: Callable[[str], FrameSource], packet: int) -> None:
    """The index of the file is wrong: the picture of a packet amid a group cannot be decoded alone."""
    source = film(".mp4")
    wrong = replace(source, keys=KeyFrames(np.array([packet]), np.array([4.0]), source.keys.zero_s + 3.3))
    for frame, other in zip(read(wrong, 105, 115)[0], read(source, 0, 150)[0][105:115], strict=True):
        np.testing.assert_array_equal(frame.image, other.image)


def test_behind_the_last_frame_that_can_be_decoded_it_is_repeated(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mp4", Film(6.0, size_px=SIZE, layout=None, picture_options=H264))
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    end = begin - 8 + int.from_bytes(data[begin - 8 : begin - 4], "big")
    middle = (begin + end) // 2
    path.write_bytes(data[:middle] + bytes(end - middle) + data[end:])
    source = read_source(path)
    whole, counts = read(source, 0, source.plan.n_frames)
    part, own = read(source, 120, 140)
    assert counts.is_cut_off and own.is_cut_off and not whole[139].is_new
    for frame, other in zip(part, whole[120:140], strict=True):
        np.testing.assert_array_equal(frame.image, other.image)


def test_reasons_of_the_whole_are_those_of_its_counts(film: Callable[[str], FrameSource]) -> None:
    source, seen = film(".mp4"), []

    def run() -> tuple[Reason, ...]:
        frames = source()
        while True:
            try:
                seen.append(next(frames))
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    assert run() == () and len(seen) == source.plan.n_frames == 6 * FPS


def test_each_frame_can_be_changed(film: Callable[[str], FrameSource]) -> None:
    turned = replace(film(".mp4"), change=lambda frame: replace(frame, image=frame.image[::-1]))
    frame, other = read(turned, 30, 31)[0][0], read(film(".mp4"), 30, 31)[0][0]
    np.testing.assert_array_equal(frame.image, other.image[::-1])
