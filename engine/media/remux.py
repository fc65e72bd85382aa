"""Picture and sound that came as two files, put into one as they are: nothing is decoded, no time is changed.

Picture and sound of two files in one, put together by a confined process; what it writes comes over its link.
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
from engine.media.containers import check_picture_codec, check_sound_codec, identify_container
from engine.media.limits import check_duration, check_file, check_streams
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import WORKER_MODULE
from engine.media.video import open_container
from engine.settings import MediaLimits

BLOCK_BYTES = 2**20
DAMAGED = "One of them may be damaged; try again later, or upload the file."


class Output(Protocol):
    """Where the merged file goes: written from the start, but for a few numbers that are known at the end."""

    def write(self, data: bytes) -> int: ...
    def seek(self, place: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...


def merge_streams(
    picture: io.FileIO,
    sound: io.FileIO,
    demuxers: tuple[str, str],
    limits: MediaLimits,
    output: Output,
    on_packet: Callable[[], None],
) -> None:
    """Copy the first picture stream of one file and the first sound stream of the other into one MP4 or Matroska.

    Raises NO_VIDEO, CODEC_REFUSED, UNREADABLE_VIDEO and the codes of a limit exceeded.
    """
    with (
        open_container(picture, demuxers[0], limits.max_pixels) as seen,
        open_container(sound, demuxers[1], limits.max_pixels) as heard,
    ):
        streams = _pick(seen, "video", limits), _pick(heard, "audio", limits)
        kind = "matroska" if "matroska" in demuxers else "mp4"  # a part of MP4 keeps its exact times only there
        try:
            with av.open(output, "w", format=kind, buffer_size=BLOCK_BYTES) as merged:
                _copy((seen, heard), streams, merged, limits, on_packet)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            raise Code.UNREADABLE_VIDEO("Picture and sound came apart and cannot be put together.", DAMAGED) from error


def _pick(container: InputContainer, kind: str, limits: MediaLimits) -> Stream:
    """The first stream of a kind, if it is of a coding that is taken."""
    check_streams(len(container.streams.video) + len(container.streams.audio), limits)
    check_duration((container.duration or 0) / av.time_base, limits)
    found = [stream for stream in container.streams if stream.type == kind and stream.codec_context is not None]
    if not found:
        raise _name_lack(kind)
    name = found[0].codec_context.codec.canonical_name
    if kind == "video":
        check_picture_codec(name)
    else:
        check_sound_codec(name)
    return found[0]


def _name_lack(kind: str) -> EngineError:
    if kind == "video":
        return Code.NO_VIDEO("The file that should hold the picture has none.", DAMAGED)
    return Code.UNREADABLE_VIDEO("The file that should hold the sound has none.", DAMAGED)


def _copy(
    containers: tuple[InputContainer, InputContainer],
    streams: tuple[Stream, Stream],
    merged: OutputContainer,
    limits: MediaLimits,
    on_packet: Callable[[], None],
) -> None:
    """Write the packets of both in the order of their times."""
    targets = [merged.add_stream_from_template(stream) for stream in streams]
    ways = [
        _read(container, place, stream)
        for place, (container, stream) in enumerate(zip(containers, streams, strict=True))
    ]
    first_s: float | None = None
    for time_s, place, packet in heapq.merge(*ways, key=lambda due: due[:2]):
        on_packet()
        first_s = time_s if first_s is None else first_s
        check_duration(time_s - first_s, limits)
        packet.stream = targets[place]
        merged.mux_one(packet)


def _read(container: InputContainer, place: int, stream: Stream) -> Iterator[tuple[float, int, Packet]]:
    """Each packet with its time in seconds and which file it is of; the empty one at the end has no time."""
    for packet in container.demux(stream):
        if packet.dts is not None and packet.size:
            yield float(packet.dts * packet.time_base), place, packet


def merge(picture: Path, sound: Path, merged: BinaryIO, limits: MediaLimits) -> None:
    """Write one file with the picture of the first and the sound of the second, neither decoded.

    Raises UNREADABLE_VIDEO, CODEC_REFUSED, NO_VIDEO and the codes of a limit exceeded; the merged file may then hold
    a part.
    """
    for path in (picture, sound):
        check_file(path, limits)
    note = {"demuxers": [identify_container(picture), identify_container(sound)]}
    with (
        sound.open("rb") as other,
        WorkerProcess(WORKER_MODULE, picture, "merge", note, b"", limits, other.fileno()) as decoder,
    ):
        while (message := decoder.receive()).kind == "piece":
            place = message.note.get("at")
            if not isinstance(place, int) or place < 0:
                raise invalid_message(f"a piece at {str(place)[:20]}")
            if place + len(message.data) > limits.max_bytes:
                raise Code.FILE_TOO_LARGE(
                    f"Picture and sound together have more than the {math.floor(limits.max_bytes / 2**20)} MB allowed.",
                    "Cut the part that matters, and upload that.",
                )
            merged.seek(place)
            merged.write(message.data)
    if message.kind != "end":
        raise invalid_message(f"{message.kind[:20]!r} where a piece is due")
