"""Interlaced films are seen without combs, at the time of the field that is shown first."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.media.clip import open_clip
from engine.media.fields import BOTTOM, TOP, extract_field, find_first_field
from engine.types import FPS

SIZE_PX = (160, 120)
SPEED_PX = 200  # of the bar, a second: 4 pixels from field to field
WAYS = {  # codec, its options, and which field comes first
    "mpeg2, bottom first": (".mpg", "mpeg2video", {"flags": "+ildct+ilme"}, BOTTOM),
    "h264, top first": (".mp4", "libx264", {"x264-params": "tff=1", "preset": "ultrafast", "crf": "12"}, TOP),
    "h264, bottom first": (".mp4", "libx264", {"x264-params": "bff=1", "preset": "ultrafast", "crf": "12"}, BOTTOM),
    "mpeg4": (".avi", "mpeg4", {"flags": "+ildct+ilme"}, TOP),
}


def draw_bar(time_s: float) -> np.ndarray:
    """(H, W, 3) uint8: a bright bar of 20 pixels."""
    image = np.full((SIZE_PX[1], SIZE_PX[0], 3), 16, np.uint8)
    left = round(time_s * SPEED_PX)
    image[:, left : left + 20] = 235
    return image


def weave(number: int, first: int) -> np.ndarray:
    """Two moments in one picture, the lines of the field `first` those of the earlier one."""
    image = draw_bar((number + 0.5) / FPS)
    image[first::2] = draw_bar(number / FPS)[first::2]
    return image


def write_interlaced(path: Path, codec: str, options: dict[str, str], first: int, n: int = 15) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, FPS, options=options)
        video.width, video.height, video.pix_fmt, video.bit_rate = *SIZE_PX, "yuv420p", 4_000_000
        for number in range(n):
            frame = av.VideoFrame.from_ndarray(weave(number, first), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def find_left(lines: np.ndarray) -> np.ndarray:
    """Where the bar begins in each line, (H,)."""
    return np.argmax(lines[..., 1] > 128, axis=1)


def measure_combs(image: np.ndarray) -> float:
    """Mean distance in pixels of the bar's edge from that in the line above."""
    return float(np.abs(np.diff(find_left(image))).mean())


def read_lines(picture: av.VideoFrame) -> np.ndarray:
    """Bytes of the brightness, (H, n)."""
    plane = picture.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :64]


@pytest.mark.parametrize("way", WAYS)
def test_a_moving_edge_is_no_comb_and_keeps_its_time(tmp_path: Path, way: str) -> None:
    suffix, codec, options, first = WAYS[way]
    path = write_interlaced(tmp_path / f"a{suffix}", codec, options, first)
    frames = list(open_clip(path).read_frames())

    assert len(frames) == 15 and measure_combs(weave(3, first)) == 4.0
    for frame in frames[1:12]:
        assert frame.image.shape == (SIZE_PX[1], SIZE_PX[0], 3)
        assert measure_combs(frame.image) < 0.2
        assert abs(np.median(find_left(frame.image)) - frame.index / FPS * SPEED_PX) <= 1


def test_other_films_keep_every_line(tmp_path: Path) -> None:
    """The same pictures, not said to be interlaced, are what they are."""
    path = write_interlaced(tmp_path / "a.mp4", "libx264", {"preset": "ultrafast", "crf": "12"}, TOP)
    frames = list(open_clip(path).read_frames())
    assert all(measure_combs(frame.image) > 3 for frame in frames[1:12])


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray"])
@pytest.mark.parametrize("height", [2, 3, 6, 7, 121])
@pytest.mark.parametrize("first_line", [TOP, BOTTOM])
def test_every_other_line_is_taken_in_every_layout(kind: str, height: int, first_line: int) -> None:
    rows = np.repeat(np.arange(height, dtype=np.uint8)[:, None, None] + 20, 64, axis=1).repeat(3, axis=2)
    picture = av.VideoFrame.from_ndarray(rows, "rgb24").reformat(format=kind)
    field = extract_field(picture, first_line)
    luma, whole = (read_lines(frame) for frame in (field, picture))

    assert (field.width, field.height) == (64, (height + 1 - first_line) // 2) and field.format.name == kind
    assert (luma == whole[first_line::2]).all() and len(np.unique(luma[:, 0])) == field.height
    assert (field.colorspace, field.color_range) == (picture.colorspace, picture.color_range)


def test_lines_of_colour_belong_to_the_fields_in_turn() -> None:
    picture = av.VideoFrame(8, 8, "yuv420p")
    for number, plane in enumerate(picture.planes):
        lines = np.arange(plane.height, dtype=np.uint8)[:, None] + 50 * number
        plane.update(np.repeat(lines, plane.line_size, axis=1).tobytes())
    for first_line in (TOP, BOTTOM):
        planes = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, 0].tolist()
            for plane in extract_field(picture, first_line).planes
        ]
        assert planes == [[line + first_line for line in lines] for lines in ([0, 2, 4, 6], [50, 52], [100, 102])]


@pytest.mark.parametrize(("order", "first"), [(0, TOP), (1, TOP), (2, TOP), (3, BOTTOM), (4, BOTTOM), (5, TOP)])
def test_the_field_that_is_shown_first_is_taken(order: int, first: int) -> None:
    assert find_first_field(order) == first
