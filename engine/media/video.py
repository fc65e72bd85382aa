"""Stream the frames of a file, or a range of them, upright at a constant frame rate."""

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
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from engine.errors import Code
from engine.media.containers import WHITELIST, check_video_codec
from engine.media.fields import TOP, extract_field, find_first_field
from engine.media.scan import UPRIGHT, FrameGeometry, FramePlan, StreamEnd, VideoStart
from engine.settings import MediaLimits
from engine.types import Frame

# A file can refer to other files or URLs only through a protocol; none is allowed.
CLOSED_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": "mov,matroska,mpegts,mpeg,avi"}

# An MPEG program stream has no list of its streams: audio that starts late is found only by reading that far.
PROBE_OPTIONS = {"mpeg": {"probesize": "20000000", "analyzeduration": "30000000"}}
MAX_ASPECT = 4.0  # a larger pixel aspect ratio means a damaged header
MAX_THREADS = 4  # of a decoder: each keeps frames in memory
MAX_COPIES = 25  # frames of the grid; an image that is held for longer is a still, a title or a black screen
MAX_MISSING_S = 0.5
SAME_S = 1e-6  # rounding of the times of one frame


def open_container(file: io.FileIO, demuxer: str, max_pixels: int) -> InputContainer:
    """Open with this demuxer and without any protocol, so that no other file or URL is read; close it after use."""
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
    """Return decoder options against frames far larger than in the header, with room for the padding of decoders."""
    return {"max_pixels": str(2 * max_pixels + 2**16), "codec_whitelist": WHITELIST}


def read_packets(container: InputContainer, *streams: Stream) -> Generator[Packet, None, bool]:
    """Yield all packets of these streams, then one empty packet each; return True when reading broke off."""
    try:
        yield from container.demux(*streams)
    except (av.FFmpegError, IndexError):  # IndexError: PyAV, for a stream that appears after opening
        return True
    return False


def seek_video(container: InputContainer, stream: VideoStream, time_s: float) -> None:
    """Go to the key frame at or before a time on the clock of the container."""
    container.seek(round(time_s / float(stream.time_base or 1)), stream=stream)


def read_geometry(frame: VideoFrame, stream: VideoStream) -> FrameGeometry:
    """Read the pixel aspect ratio and the display matrix; the smaller side is scaled up, so that no detail is lost."""
    return _find_geometry(frame, float(stream.sample_aspect_ratio or 1))


def _find_geometry(frame: VideoFrame, aspect: float) -> FrameGeometry:
    width, height = frame.width, frame.height
    if 1 < aspect <= MAX_ASPECT:
        width = round(width * aspect)
    elif 1 / MAX_ASPECT <= aspect < 1:
        height = round(height / aspect)
    return FrameGeometry((width, height), _read_turn(frame))


def fit_geometry(own: FrameGeometry, canvas_px: tuple[int, int]) -> FrameGeometry:
    """Scale the geometry of a frame so that it fits into the canvas with its own shape."""
    scale = min(side / length for side, length in zip(canvas_px, own.size_px, strict=True))
    width, height = (max(1, round(length * scale)) for length in own.scaled_px)
    return FrameGeometry((width, height), own.turn)


def stream_frames(
    file: io.FileIO,
    plan: FramePlan,
    limits: MediaLimits,
    on_packet: Callable[[], None],
    allot: Callable[[], np.ndarray] | None = None,
) -> Generator[Frame, None, StreamEnd]:
    """Yield the frames `plan.first` to `plan.n_frames - 1`, each the latest source frame due at its time.

    `allot` returns the memory (H, W, 3) uint8 for each new image; it must not change until the next image is written.
    Where the decoder breaks off, the last frame is repeated to the end. Return what is counted while decoding.
    """
    width, height = plan.shape.size_px
    allot = allot or (lambda: np.empty((height, width, 3), np.uint8))
    for start in plan.nearer:
        reader = _FrameReader(plan, start, limits.max_pixels, on_packet, allot)
        if (yield from _stream_from(file, reader, plan, float(plan.times_s[0]))):
            return reader.count()
    reader = _FrameReader(plan, plan.start, limits.max_pixels, on_packet, allot)
    if not (yield from _stream_from(file, reader, plan, None)):
        raise Code.UNREADABLE_VIDEO("No frame of the video can be decoded.", "Export it again, as H.264 in MP4.")
    return reader.count()


def _stream_from(
    file: io.FileIO, reader: "_FrameReader", plan: FramePlan, due_s: float | None
) -> Generator[Frame, None, bool]:
    """Yield the frames as `stream_frames`; return False without one where the first is not that of the time `due_s`."""
    held: VideoFrame | None = None
    held_s, index = 0.0, plan.first
    file.seek(0)
    with open_container(file, plan.demuxer, reader.max_pixels) as container:
        for frame in reader.decode(container):
            while (
                held is not None
                and index < plan.n_frames
                and reader.time_s > plan.from_s + index / plan.rate_hz + plan.tolerance_s
            ):
                if index == plan.first and not reader.begin(held_s, due_s):
                    return False
                yield reader.make_frame(held, index)
                index += 1
            if index == plan.n_frames:
                break
            held, held_s = frame, reader.time_s
        if held is None or (index == plan.first and not reader.begin(held_s, due_s)):
            return False
        for last in range(index, plan.n_frames):
            yield reader.make_frame(held, last)
    return True


class _FrameReader:
    """Decode frames, convert them to upright RGB, and count the damaged and the repeated ones."""

    def __init__(
        self,
        plan: FramePlan,
        start: VideoStart,
        max_pixels: int,
        on_packet: Callable[[], None],
        allot: Callable[[], np.ndarray],
    ):
        self.time_s = 0.0  # presentation time of the frame decoded last
        self.max_pixels = max_pixels
        self._plan, self._start, self._on_packet, self._allot = plan, start, on_packet, allot
        self._reformatter = VideoReformatter()
        self._decoded = self._damaged = self._concealed = self._shown = self._copied = 0
        self._before = 0, 0  # decoded and damaged before the range
        self._held_from = 0  # index of the frame that the images since repeat
        self._source: VideoFrame | None = None
        self._first_line = TOP
        self._aspect = 1.0  # of the pixels, as the stream states
        self._coded_aspect = 1.0  # of those of the frames decoded last, as the codec states
        self._first: tuple[int, int, float] | None = None  # stored size of the first frame, and its coded aspect
        self._image = np.zeros((0, 0, 3), np.uint8)

    def decode(self, container: InputContainer) -> Generator[VideoFrame, None, None]:
        """Yield frames in the order of presentation, skipping damaged packets; set `time_s` to the time of each."""
        stream = container.streams[self._plan.stream_index]
        assert isinstance(stream, VideoStream)
        check_video_codec(stream.codec_context.codec.canonical_name)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min((os.cpu_count() or 1) + 1, MAX_THREADS)
        stream.codec_context.options = bound_decoder(self.max_pixels)
        self._first_line = find_first_field(int(stream.codec_context.field_order or 0))
        self._aspect = float(stream.sample_aspect_ratio or 1)
        if self._start.seek_s is not None:
            try:
                seek_video(container, stream, self._start.seek_s)
            except av.FFmpegError:
                return
        shifts = dict(self._plan.shifts)
        number, shift = 0, 0
        for packet in read_packets(container, stream):
            self._on_packet()
            if packet.size and (packet.pts is not None or packet.dts is not None):  # as the frame index counts
                shift, number = shifts.get(number, shift), number + 1
                if number <= self._start.n_skipped:
                    continue
                _shift_packet(packet, shift)
            yield from self._decode_packet(stream, packet)
        yield from self._decode_packet(stream, None)  # frames of a truncated file that are still in the decoder

    def begin(self, time_s: float, due_s: float | None) -> bool:
        """Return whether the frame shown first, of `time_s`, is the one due; count from there on."""
        if self._plan.first:
            self._before = self._decoded, self._damaged + self._concealed
        return due_s is None or abs(time_s - due_s) < SAME_S

    def make_frame(self, frame: VideoFrame, index: int) -> Frame:
        """Make the frame with this index, converting the image when it is first used."""
        is_new = frame is not self._source
        if is_new:
            image = self._convert(frame)
            # every fourth row suffices to detect a repeated image
            is_copy = self._shown > 0 and np.array_equal(image[::4], self._image[::4])
            self._count_copy(is_copy, index)
            self._shown += 1
            self._source, self._image = frame, image
        return Frame(index, self._image, is_new)

    def _count_copy(self, is_copy: bool, index: int) -> None:
        """Count an image that repeats the one before; a picture held for long is no irregular rate."""
        self._held_from = self._held_from if is_copy else index
        held = index - self._held_from
        self._copied += 0 if held > MAX_COPIES else is_copy
        self._copied -= MAX_COPIES if held == MAX_COPIES + 1 else 0

    def count(self) -> StreamEnd:
        """Return the counts after the last frame."""
        due_s = min(self._plan.times_s[-1], self._plan.from_s + self._plan.n_frames / self._plan.rate_hz)
        decoded, damaged = self._before
        return StreamEnd(
            n_shown=self._shown,
            n_copied=self._copied,
            n_decoded=self._decoded - decoded,
            n_damaged=self._damaged + self._concealed - damaged,
            is_cut_off=bool(self.time_s < due_s - MAX_MISSING_S),
        )

    def _decode_packet(self, stream: VideoStream, packet: Packet | None) -> Generator[VideoFrame, None, None]:
        try:
            frames = stream.decode(packet)
        except av.EOFError:  # already flushed
            return
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._damaged += 1  # a packet without a frame
            return
        self._coded_aspect = float(stream.codec_context.sample_aspect_ratio or 1)
        for frame in frames:
            self.time_s = self._read_time(frame, stream)
            self._decoded += 1
            self._concealed += frame.is_corrupt
            yield frame

    def _read_time(self, frame: VideoFrame, stream: VideoStream) -> float:
        if frame.pts is None or self._plan.demuxer == "avi":
            # AVI has no presentation times, and those guessed for reordered H.264 are wrong. Frames are decoded in the
            # order of presentation, so the n-th has the n-th time; a lost frame keeps its place.
            number, times_s = self._decoded + self._damaged, self._plan.times_s
            behind = max(number - len(times_s) + 1, 0)  # frames behind the range
            return float(times_s[number - behind]) + behind / self._plan.rate_hz
        return float((frame.pts - self._plan.zero) * (stream.time_base or 0))

    def _convert(self, frame: VideoFrame) -> np.ndarray:
        """Convert to upright RGB (H, W, 3) uint8; a frame of another shape than the first keeps it, on black."""
        shape = fit_geometry(self._find_shape(frame), self._plan.shape.size_px)
        width, height = shape.scaled_px
        if frame.interlaced_frame and frame.height > 1:
            frame = extract_field(frame, self._first_line)
        (plane,) = self._reformatter.reformat(frame, width, height, "rgb24").planes
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        upright = turn_upright(lines[:height, : 3 * width].reshape(height, width, 3), shape.turn)
        image = self._allot()
        if upright.shape == image.shape:
            image[:] = upright
        else:
            top, left = (np.subtract(image.shape[:2], upright.shape[:2]) // 2).tolist()
            image[:] = 0
            image[top : top + upright.shape[0], left : left + upright.shape[1]] = upright
        return image

    def _find_shape(self, frame: VideoFrame) -> FrameGeometry:
        """Return the geometry of this frame: size, pixel aspect ratio and turn may change within a stream."""
        coded = (frame.width, frame.height, self._coded_aspect)
        self._first = self._first or coded
        return _find_geometry(frame, self._aspect if coded == self._first else self._coded_aspect)


def _shift_packet(packet: Packet, shift: int) -> None:
    """Add to the times of a packet; the decoder copies them to its frame."""
    if shift:
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


def turn_upright(image: np.ndarray, turn: tuple[int, int, int, int]) -> np.ndarray:
    """Return a view of the image (H, W, 3) after quarter turns and flips; `turn` has the display matrix signs."""
    a, b, c, d = turn
    if turn == UPRIGHT:
        return image
    if not a:  # a quarter turn: x' = c y, y' = b x
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: d or 1, :: a or 1]


def _read_turn(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Read the signs of the display matrix (ISO/IEC 14496-12, 8.2.2), rounded to quarter turns and flips."""
    matrix = cast(SideDataContainer, frame.side_data).get(SideDataType.DISPLAYMATRIX)
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
