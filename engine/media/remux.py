"""Remux the video of one file and the audio of another into one file, in a confined process.

Packets are copied without decoding; their times are kept.
"""

import heapq
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from engine.errors import Code, EngineError
from engine.media.containers import check_audio_codec, check_video_codec, identify_container
from engine.media.limits import check_duration, check_file, check_streams
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import WORKER_MODULE
from engine.media.video import open_container
from engine.settings import MediaLimits

BLOCK_BYTES = 2**20
DAMAGED = "One of them may be damaged; try again later, or upload the file."


class Output(Protocol):
    """Seekable output of the muxer, which writes sequentially and completes a few fields at the end."""

    def write(self, data: bytes) -> int: ...
    def seek(self, place: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...


def merge_streams(
    video: io.FileIO,
    audio: io.FileIO,
    demuxers: tuple[str, str],
    limits: MediaLimits,
    output: Output,
    on_packet: Callable[[], None],
) -> None:
    """Copy the first video stream of one file and the first audio stream of the other into one MP4 or Matroska.

    Raises NO_VIDEO, CODEC_REFUSED, UNREADABLE_VIDEO and the codes of a limit exceeded.
    """
    with (
        open_container(video, demuxers[0], limits.max_pixels) as video_container,
        open_container(audio, demuxers[1], limits.max_pixels) as audio_container,
    ):
        streams = _pick(video_container, "video", limits), _pick(audio_container, "audio", limits)
        kind = "matroska" if "matroska" in demuxers else "mp4"  # only Matroska keeps the exact times of its packets
        try:
            with av.open(output, "w", format=kind, buffer_size=BLOCK_BYTES) as merged:
                _copy((video_container, audio_container), streams, merged, limits, on_packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            raise Code.UNREADABLE_VIDEO(
                "Video and audio came as separate files and cannot be merged.", DAMAGED
            ) from error


def _pick(container: InputContainer, kind: str, limits: MediaLimits) -> Stream:
    """Choose the first stream of a kind and check its codec."""
    check_streams(len(container.streams.video) + len(container.streams.audio), limits)
    check_duration((container.duration or 0) / av.time_base, limits)
    found = [stream for stream in container.streams if stream.type == kind and stream.codec_context is not None]
    if not found:
        raise _make_missing_error(kind)
    name = found[0].codec_context.codec.canonical_name
    if kind == "video":
        check_video_codec(name)
    else:
        check_audio_codec(name)
    return found[0]


def _make_missing_error(kind: str) -> EngineError:
    if kind == "video":
        return Code.NO_VIDEO("The file that should hold the video has none.", DAMAGED)
    return Code.UNREADABLE_VIDEO("The file that should hold the audio has none.", DAMAGED)


def _copy(
    containers: tuple[InputContainer, InputContainer],
    streams: tuple[Stream, Stream],
    merged: OutputContainer,
    limits: MediaLimits,
    on_packet: Callable[[], None],
) -> None:
    """Write the packets of both streams in the order of their times."""
    targets = [merged.add_stream_from_template(stream) for stream in streams]
    packets = [
        _read(container, place, stream)
        for place, (container, stream) in enumerate(zip(containers, streams, strict=True))
    ]
    first_s: float | None = None
    for time_s, place, packet in heapq.merge(*packets, key=lambda due: due[:2]):
        on_packet()
        first_s = time_s if first_s is None else first_s
        check_duration(time_s - first_s, limits)
        packet.stream = targets[place]
        merged.mux_one(packet)


def _read(container: InputContainer, place: int, stream: Stream) -> Iterator[tuple[float, int, Packet]]:
    """Yield the time in seconds, the index of the file, and each packet; the empty packet at the end has no time."""
    for packet in container.demux(stream):
        if packet.dts is not None and packet.size:
            yield float(packet.dts * packet.time_base), place, packet


def merge(video: Path, audio: Path, merged: BinaryIO, limits: MediaLimits) -> None:
    """Write a file with the video of the first and the audio of the second, without decoding.

    Raises UNREADABLE_VIDEO, CODEC_REFUSED, NO_VIDEO and the codes of a limit exceeded; `merged` may then be incomplete.
    """
    for path in (video, audio):
        check_file(path, limits)
    note = {"demuxers": [identify_container(video), identify_container(audio)]}
    with (
        audio.open("rb") as other,
        WorkerProcess(WORKER_MODULE, video, "merge", note, b"", limits, other.fileno()) as decoder,
    ):
        while (message := decoder.receive()).kind == "piece":
            place = message.note.get("at")
            if not isinstance(place, int) or place < 0:
                raise invalid_message(f"a piece at {str(place)[:20]}")
            if place + len(message.data) > limits.max_bytes:
                raise Code.FILE_TOO_LARGE(
                    f"Video and audio together have more than the {math.floor(limits.max_bytes / 2**20)} MB allowed.",
                    "Cut the part that matters, and upload that.",
                )
            merged.seek(place)
            merged.write(message.data)
    if message.kind != "end":
        raise invalid_message(f"{message.kind[:20]!r} where a piece is due")
