"""Find pictures of a recording at given times: by seeking, or in one pass over a file without an index."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from engine.media.clock import is_step
from engine.media.video import read_packets

PIXELS_PER_PICTURE = 50_000_000  # decoded from the key frame on, before the picture nearest to the wanted time is taken
MAX_PACKETS = 3000  # read for one picture
INDEXED = ("mov", "matroska")  # containers with an index of their key frames
INDEX_S = 4.0  # for reading all packets of a file without an index; a longer file is sampled by its clock
EARLY_S = 3.0  # before the wanted time, to meet a key frame


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Media times of the video packets of a file without an index of its own, in the order of the file."""

    times_s: list[float]
    keys: list[int]  # numbers of the packets with a key frame
    duration_s: float


def index_packets(container: InputContainer, video: VideoStream, on_packet: Callable[[], None]) -> PacketIndex | None:
    """Read the times of all packets, joined where the clock steps; None for a file that is too long for it."""
    deadline_s, unit_s = time.monotonic() + INDEX_S, float(video.time_base or 0)
    times_s: list[float] = []
    keys: list[int] = []
    shift_s = expected_s = before_s = 0.0
    for packet in read_packets(container, video):
        on_packet()
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not packet.size:
            continue
        time_s = stamp * unit_s
        if not times_s:
            expected_s = time_s
        if is_step(expected_s, time_s):
            shift_s += expected_s - time_s
        length_s = packet.duration * unit_s if packet.duration else max(time_s - before_s, 0.0) if times_s else 0.0
        expected_s, before_s = time_s + length_s, time_s
        if packet.is_keyframe:
            keys.append(len(times_s))
        times_s.append((packet.pts if packet.pts is not None else stamp) * unit_s + shift_s)
        if time.monotonic() > deadline_s:
            return None
    if not keys:
        return None
    zero_s = times_s[keys[0]]
    end_s = max(times_s) + max(expected_s - before_s, 0.0)
    return PacketIndex([one - zero_s for one in times_s], keys, end_s - zero_s)


def read_pictures(
    container: InputContainer,
    video: VideoStream,
    index: PacketIndex,
    times_s: list[float],
    on_packet: Callable[[], None],
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the picture at each time in one pass over the packets, decoding from the key frame before it."""
    spans = _plan_spans(index, times_s, _limit_pictures(video))
    held: VideoFrame | None = None
    packets = (
        one for one in read_packets(container, video) if one.size and (one.dts is not None or one.pts is not None)
    )
    for number, packet in enumerate(packets):
        on_packet()
        if any(first <= number <= last for first, last in spans):
            held = next(reversed(_decode(packet)), held)
        for at_s, (_, last) in zip(times_s, spans, strict=True):
            if number == last and held is not None:
                yield at_s, held
        if number >= spans[-1][1]:
            return


def _plan_spans(index: PacketIndex, times_s: list[float], most: int) -> list[tuple[int, int]]:
    """Return the first and the last packet to decode for each time: the key frame, and at most `most` pictures on."""
    spans: list[tuple[int, int]] = []
    for at_s in times_s:
        key = max((one for one in index.keys if index.times_s[one] <= at_s), default=index.keys[0])
        due = next((n for n in range(key, len(index.times_s)) if index.times_s[n] >= at_s), len(index.times_s) - 1)
        begun = max(key, spans[-1][1] if spans else 0)
        spans.append((key, max(min(due, begun + most), begun)))
    return spans


def seek_pictures(
    container: InputContainer,
    video: VideoStream,
    zero_s: float,
    times_s: list[float],
    demuxer: str,
    on_packet: Callable[[], None],
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield the picture at each time, or one before it; a time without a picture is left out."""
    unit_s, most = float(video.time_base or 0), _limit_pictures(video)
    early_s = 0.0 if demuxer in INDEXED else EARLY_S  # without an index a seek leads to any packet
    for at_s in times_s:
        last: VideoFrame | None = None
        try:
            container.seek(round((zero_s + max(at_s - early_s, 0.0)) / unit_s), stream=video)
            for frame in islice(_decode_from_key(container, video, on_packet), most):
                if last is not None and frame.pts is not None and frame.pts * unit_s > zero_s + at_s:
                    break
                last = frame
        except (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError) as error:
            if isinstance(error, MemoryError):
                raise
        if last is not None:
            yield at_s, last


def _decode_from_key(
    container: InputContainer, video: VideoStream, on_packet: Callable[[], None]
) -> Iterator[VideoFrame]:
    is_begun = False
    for packet in islice(read_packets(container, video), MAX_PACKETS):
        on_packet()
        is_begun = is_begun or packet.is_keyframe
        if is_begun:
            yield from _decode(packet)


def _decode(packet: "Packet[VideoStream]") -> list[VideoFrame]:
    """Return the frames that a packet completes; none of a damaged one."""
    try:
        return packet.decode()
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        return []


def _limit_pictures(video: VideoStream) -> int:
    """Return how many pictures may be decoded to find one."""
    return max(1, PIXELS_PER_PICTURE // max(video.codec_context.width * video.codec_context.height, 1))
