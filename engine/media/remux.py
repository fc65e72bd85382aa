"""Remux the video of one file and the audio of another into one file, in a confined process.

Packets are copied without decoding; their times are kept. All audio tracks are copied with language, title and default
flag, so that the rule of `engine/media/demux.py` chooses among them as it would in the file itself.
"""

import heapq
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from engine.errors import Code, EngineError
from engine.media.containers import (
    check_audio_codec,
    check_video_codec,
    identify_container,
    is_audio_codec_allowed,
)
from engine.media.limits import check_duration, check_file
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import WORKER_MODULE
from engine.media.video import open_container
from engine.settings import MediaLimits

BLOCK_BYTES = 2**20
KEPT_METADATA = ("language", "title")  # of an audio track
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
    language: str = "",
) -> None:
    """Copy the first video stream of one file and the audio streams of the other into one MP4 or Matroska.

    `language` (ISO 639-2) is written to a single audio stream. Raises NO_VIDEO, CODEC_REFUSED, UNREADABLE_VIDEO and the
    codes of a limit exceeded.
    """
    with (
        open_container(video, demuxers[0], limits.max_pixels) as video_container,
        open_container(audio, demuxers[1], limits.max_pixels) as audio_container,
    ):
        picked = _pick_video(video_container), _pick_audio(audio_container, limits)
        kind = "matroska" if "matroska" in demuxers else "mp4"  # only Matroska keeps the exact times of its packets
        try:
            with av.open(output, "w", format=kind, buffer_size=BLOCK_BYTES) as merged:
                targets = [{stream.index: _add_stream(merged, stream) for stream in streams} for streams in picked]
                if language and len(picked[1]) == 1:
                    targets[1][picked[1][0].index].metadata["language"] = language
                packets = [
                    _read(container, place, streams)
                    for place, (container, streams) in enumerate(
                        zip((video_container, audio_container), picked, strict=True)
                    )
                ]
                _copy(packets, targets, merged, limits, on_packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            raise Code.UNREADABLE_VIDEO(
                "Video and audio came as separate files and cannot be merged.", DAMAGED
            ) from error


def _pick_video(container: InputContainer) -> list[Stream]:
    """Choose the first video stream with a decoder, and check its codec."""
    found = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not found:
        raise _make_missing_error("video")
    check_video_codec(found[0].codec_context.codec.canonical_name)
    return list(found[:1])


def _pick_audio(container: InputContainer, limits: MediaLimits) -> list[Stream]:
    """Choose the audio streams of an allowed codec, at most `limits.max_streams`, default ones first."""
    found = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not found:
        raise _make_missing_error("audio")
    names = [stream.codec_context.codec.canonical_name for stream in found]
    allowed = [stream for stream, name in zip(found, names, strict=True) if is_audio_codec_allowed(name)]
    if not allowed:
        check_audio_codec(names[0])
    kept = sorted(allowed, key=lambda stream: not stream.disposition & Disposition.default)[: limits.max_streams]
    return sorted(kept, key=lambda stream: stream.index)


def _add_stream(merged: OutputContainer, stream: Stream) -> Stream:
    target = merged.add_stream_from_template(stream)
    target.metadata.update({name: stream.metadata[name] for name in KEPT_METADATA if name in stream.metadata})
    target.disposition = stream.disposition & Disposition.default
    return target


def _make_missing_error(kind: str) -> EngineError:
    if kind == "video":
        return Code.NO_VIDEO("The file that should hold the video has none.", DAMAGED)
    return Code.UNREADABLE_VIDEO("The file that should hold the audio has none.", DAMAGED)


def _copy(
    packets: Sequence[Iterator[tuple[float, int, Packet]]],
    targets: Sequence[dict[int, Stream]],
    merged: OutputContainer,
    limits: MediaLimits,
    on_packet: Callable[[], None],
) -> None:
    """Write the packets of both files in the order of their times."""
    first_s: float | None = None
    for time_s, place, packet in heapq.merge(*packets, key=lambda due: due[:2]):
        on_packet()
        first_s = time_s if first_s is None else first_s
        check_duration(time_s - first_s, limits)
        packet.stream = targets[place][packet.stream.index]
        merged.mux_one(packet)


def _read(container: InputContainer, place: int, streams: Sequence[Stream]) -> Iterator[tuple[float, int, Packet]]:
    """Yield the time in seconds, the index of the file, and each packet; the empty packet at the end has no time."""
    for packet in container.demux(*streams):
        if packet.dts is not None and packet.size:
            yield float(packet.dts * packet.time_base), place, packet


def merge(video: Path, audio: Path, merged: BinaryIO, limits: MediaLimits, language: str = "") -> None:
    """Write a file with the video of the first and the audio of the second, without decoding.

    `language` (ISO 639-2) is that of the audio where the site states it. Raises UNREADABLE_VIDEO, CODEC_REFUSED,
    NO_VIDEO and the codes of a limit exceeded; `merged` may then be incomplete.
    """
    for path in (video, audio):
        check_file(path, limits)
    note = {"demuxers": [identify_container(video), identify_container(audio)], "language": language}
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
