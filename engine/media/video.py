"""The pictures of a file: when each is shown, and a stream of them on the 25 Hz clock, upright.

Interlaced pictures: two moments in one, line by line. One of them is taken, or every moving edge is a comb.

The two fields of a picture are half a picture's time apart, so a moving mouth is seen twice in it. The field that is
shown first is kept and stretched over the lines of the other; that is the moment that the picture's time tells of.
"""

import io
import os
import struct
from collections.abc import Callable, Generator
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from engine.errors import Code
from engine.media.containers import WHITELIST, check_picture_codec
from engine.media.limits import check_pictures
from engine.media.scan import UPRIGHT, PicturePlan, PictureShape
from engine.settings import MediaLimits
from engine.types import Frame, Reason

BOTTOM_FIRST = (3, 4)  # AVFieldOrder: bottom field shown first, whichever is coded first; 0 is unknown
TOP, BOTTOM = 0, 1  # the first line of each field


def find_first_field(field_order: int) -> int:
    """The line at which the field begins that is shown first; where nobody tells, it is the top one."""
    return BOTTOM if field_order in BOTTOM_FIRST else TOP


def take_field(picture: VideoFrame, first_line: int) -> VideoFrame:
    """Every other line of a picture, from `first_line` on: half its height, in its own pixel format and colours.

    The lines of colour belong to the fields in turn as those of brightness do, so they are parted alike.
    """
    field = VideoFrame(picture.width, (picture.height + 1 - first_line) // 2, picture.format.name)
    for source, target in zip(picture.planes, field.planes, strict=True):
        lines = _read_lines(source)[first_line::2][: target.height]
        copied = np.zeros((target.height, target.line_size), np.uint8)
        width = min(lines.shape[1], target.line_size)
        copied[: len(lines), :width] = lines[:, :width]
        copied[len(lines) :] = copied[len(lines) - 1]  # of an odd number of lines of colour
        target.update(copied.tobytes())
    field.colorspace, field.color_range = picture.colorspace, picture.color_range
    return field


def _read_lines(plane: VideoPlane) -> np.ndarray:
    """(height, bytes of a line) uint8."""
    return np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size].reshape(
        plane.height, plane.line_size
    )


# A file names others, or an address, only through a protocol, and none is allowed.
CLOSED_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": "mov,matroska,mpegts,mpeg,avi"}

# A program stream has no list of its streams: sound that starts late is only found by reading that far.
PROBE_OPTIONS = {"mpeg": {"probesize": "20000000", "analyzeduration": "30000000"}}
MAX_ASPECT = 4.0  # a pixel more oblong than this is a damaged header
MAX_THREADS = 4  # of a decoder: each holds pictures of its own
MAX_DAMAGED_SHARE = 0.01
MAX_COPIED_SHARE = 0.2
MAX_MISSING_S = 0.5


def open_container(file: io.FileIO, demuxer: str, max_pixels: int) -> InputContainer:
    """Open with one demuxer that is handed the bytes and no protocol to fetch others by; close it after use."""
    try:
        return av.open(
            file,
            "r",
            format=demuxer,
            options=bound_decoder(max_pixels),
            container_options=CLOSED_OPTIONS | PROBE_OPTIONS.get(demuxer, {}),
            metadata_errors="ignore",
        )
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise Code.UNREADABLE_VIDEO(
            f"The file begins like a video ({demuxer}) but cannot be opened: {error.strerror}.",
            "It may be damaged or truncated; fetch or export it again.",
        ) from error


def bound_decoder(max_pixels: int) -> dict[str, str]:
    """Decoder options against pictures far larger than the header said; room is left for the padding decoders add."""
    return {"max_pixels": str(2 * max_pixels + 2**16), "codec_whitelist": WHITELIST}


def read_packets(container: InputContainer, *streams: Stream) -> Generator[Packet, None, bool]:
    """All packets of these streams, at the end one empty packet each; returns True when reading broke off."""
    try:
        yield from container.demux(*streams)
    except (av.FFmpegError, IndexError):  # IndexError: PyAV on a stream that shows up after the file was opened
        return True
    return False


class PictureIndex:
    """Collects when pictures are shown, packet by packet, and decodes the first one only."""

    def __init__(self, stream: VideoStream, limits: MediaLimits):
        self.first: VideoFrame | None = None
        self.damaged = False  # a packet is flagged as incomplete
        self.last_duration = 0  # of the picture shown last, in units of the stream; 0: not told
        self._stream, self._limits = stream, limits
        self._times: list[int] = []
        self._first_key: int | None = None  # place in `_times`
        self._earliest = self._latest = 0

    def add(self, packet: "Packet[VideoStream]") -> None:
        """Note a packet. Raises the code of a limit as soon as it is exceeded, whatever the header says."""
        if self.first is None:
            self._decode_first(packet)
        time = packet.pts if packet.pts is not None else packet.dts
        if packet.size == 0 or time is None or packet.is_discard:  # flush, or cut off by an edit list
            return
        self.damaged = self.damaged or packet.is_corrupt
        if packet.is_keyframe and self._first_key is None:
            self._first_key = len(self._times)
        if not self._times or time > self._latest:
            self._latest, self.last_duration = time, packet.duration or 0
        self._earliest = min(time, self._earliest) if self._times else time
        self._times.append(time)
        shown_s = float((self._latest - self._earliest) * (self._stream.time_base or 0))
        check_pictures(len(self._times), shown_s, self._limits)

    def finish(self) -> np.ndarray:
        """Presentation times in units of the stream, (n,) int64, sorted, each once.

        What precedes the first key picture, in the file or on the screen, cannot be decoded and does not count.
        """
        first = self._first_key or 0
        times = np.array(self._times[first:], np.int64)
        return np.unique(times[times >= times[0]]) if len(times) else times

    def _decode_first(self, packet: "Packet[VideoStream]") -> None:
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            return
        self.first = frames[0] if frames else None


def shape_pictures(first: VideoFrame, stream: VideoStream) -> PictureShape:
    """Read the pixel's aspect and the display matrix; the smaller side is stretched, so that no detail is lost."""
    width, height = first.width, first.height
    aspect = float(stream.sample_aspect_ratio or 1)
    if 1 < aspect <= MAX_ASPECT:
        width = round(width * aspect)
    elif 1 / MAX_ASPECT <= aspect < 1:
        height = round(height / aspect)
    return PictureShape((width, height), _read_turn(first))


def stream_pictures(
    file: io.FileIO,
    plan: PicturePlan,
    limits: MediaLimits,
    on_packet: Callable[[], None],
    allot: Callable[[], np.ndarray] | None = None,
) -> Generator[Frame, None, tuple[Reason, ...]]:
    """Exactly `plan.n_frames` frames, each the latest picture due at its time, whatever the source's rate.

    `allot` gives the memory (H, W, 3) uint8 for each new one; it must stay as it is until the next one has been made.

    Returns, after the last frame, what only decoding can show: TRUNCATED when pictures are damaged or the decoder
    breaks off (the last picture is held to the end), FPS_VFR when over a fifth of the pictures only repeat the one
    before. A caller gets it by `reasons = yield from clip.read_frames()`.
    """
    width, height = plan.shape.size_px
    allot = allot or (lambda: np.empty((height, width, 3), np.uint8))
    reader = _PictureReader(plan, limits.max_pixels, on_packet, allot)
    held: VideoFrame | None = None
    index = 0
    with open_container(file, plan.demuxer, limits.max_pixels) as container:
        for picture in reader.decode(container):
            while (
                held is not None and index < plan.n_frames and reader.time_s > index / plan.rate_hz + plan.tolerance_s
            ):
                yield reader.show(held, index)
                index += 1
            if index == plan.n_frames:
                break
            held = picture
        if held is None:
            raise Code.UNREADABLE_VIDEO("No picture of the video can be decoded.", "Export it again, as H.264 in MP4.")
        for last in range(index, plan.n_frames):
            yield reader.show(held, last)
    return reader.sum_up()


class _PictureReader:
    """Decodes and turns pictures, and remembers how that went."""

    def __init__(
        self, plan: PicturePlan, max_pixels: int, on_packet: Callable[[], None], allot: Callable[[], np.ndarray]
    ):
        self.time_s = 0.0  # of the picture decoded last
        self._plan, self._max_pixels, self._on_packet, self._allot = plan, max_pixels, on_packet, allot
        self._reformatter = VideoReformatter()
        self._decoded = self._damaged = self._concealed = self._shown = self._copied = 0
        self._source: VideoFrame | None = None
        self._first_line = TOP
        self._image = np.zeros((0, 0, 3), np.uint8)

    def decode(self, container: InputContainer) -> Generator[VideoFrame, None, None]:
        """Pictures in the order of presentation, over damaged packets; sets `time_s` to the time of each."""
        stream = container.streams[self._plan.stream_index]
        assert isinstance(stream, VideoStream)
        check_picture_codec(stream.codec_context.codec.canonical_name)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min((os.cpu_count() or 1) + 1, MAX_THREADS)
        stream.codec_context.options = bound_decoder(self._max_pixels)
        self._first_line = find_first_field(int(stream.codec_context.field_order or 0))
        for packet in read_packets(container, stream):
            self._on_packet()
            yield from self._decode_packet(stream, packet)
        yield from self._decode_packet(stream, None)  # what a broken-off file left in the decoder

    def show(self, picture: VideoFrame, index: int) -> Frame:
        """The frame of a picture, converted when it is first shown."""
        is_new = picture is not self._source
        if is_new:
            image = self._convert(picture)
            # every fourth row finds a copy as surely as all of them
            self._copied += self._shown > 0 and np.array_equal(image[::4], self._image[::4])
            self._shown += 1
            self._source, self._image = picture, image
        return Frame(index, self._image, is_new)

    def sum_up(self) -> tuple[Reason, ...]:
        """What decoding found."""
        reasons = []
        if self._copied > MAX_COPIED_SHARE * self._shown:
            reasons.append(Reason.FPS_VFR)
        due_s = min(self._plan.times_s[-1], self._plan.n_frames / self._plan.rate_hz)
        damaged = self._damaged + self._concealed
        if damaged > MAX_DAMAGED_SHARE * self._decoded or self.time_s < due_s - MAX_MISSING_S:
            reasons.append(Reason.TRUNCATED)
        return tuple(reasons)

    def _decode_packet(self, stream: VideoStream, packet: Packet | None) -> Generator[VideoFrame, None, None]:
        try:
            pictures = stream.decode(packet)
        except av.EOFError:  # flushed before
            return
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._damaged += 1  # a packet without a picture
            return
        for picture in pictures:
            self.time_s = self._read_time(picture, stream)
            self._decoded += 1
            self._concealed += picture.is_corrupt
            yield picture

    def _read_time(self, picture: VideoFrame, stream: VideoStream) -> float:
        if picture.pts is None or self._plan.demuxer == "avi":
            # AVI holds no presentation times, and those guessed for reordered H.264 are wrong; but pictures come out
            # in the order in which they are shown, so the n-th is due n-th, a lost one keeping its place
            return float(self._plan.times_s[min(self._decoded + self._damaged, len(self._plan.times_s) - 1)])
        return float((picture.pts - self._plan.zero) * (stream.time_base or 0))

    def _convert(self, picture: VideoFrame) -> np.ndarray:
        width, height = self._plan.shape.scaled_px
        if picture.interlaced_frame and picture.height > 1:
            picture = take_field(picture, self._first_line)
        (plane,) = self._reformatter.reformat(picture, width, height, "rgb24").planes
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        image = self._allot()
        image[:] = turn_upright(lines[:height, : 3 * width].reshape(height, width, 3), self._plan.shape.turn)
        return image  # (H, W, 3) uint8


def turn_upright(image: np.ndarray, turn: tuple[int, int, int, int]) -> np.ndarray:
    """A view of the image (H, W, 3) after quarter turns and mirrorings; `turn` has the display matrix's signs."""
    a, b, c, d = turn
    if turn == UPRIGHT:
        return image
    if not a:  # a quarter turn: x' = c y, y' = b x
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: d or 1, :: a or 1]


def _read_turn(picture: VideoFrame) -> tuple[int, int, int, int]:
    """Signs of the display matrix (ISO/IEC 14496-12, 8.2.2), rounded to quarter turns and mirrorings."""
    matrix = cast(SideDataContainer, picture.side_data).get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(a) + abs(d) < abs(b) + abs(c):
        a = d = 0
    else:
        b = c = 0
    return _sign(a), _sign(b), _sign(c), _sign(d)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
