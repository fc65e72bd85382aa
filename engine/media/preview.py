"""Preview of a recording before its analysis: duration, audio tracks, and a few pictures at even times.

Each picture is found by seeking, so the work does not grow with the length of the recording.
"""

import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from engine.errors import EngineError
from engine.media.containers import identify_container
from engine.media.demux import list_tracks, pick_video
from engine.media.limits import check_file, check_pixels
from engine.media.preview_pictures import INDEXED, MAX_PACKETS, index_packets, read_pictures, seek_pictures
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import WORKER_MODULE, FrameGeometry
from engine.media.transport import read_programmes
from engine.media.video import bound_decoder, open_container, read_geometry, read_packets, turn_upright
from engine.settings import MediaLimits
from engine.types import AudioTrack

N_PICTURES = 12
HEIGHT_PX = 90
MAX_WIDTH_PX = 320  # of a very wide picture
WORK_S = 8.0  # the pictures found by then are all
STALL_S = 15.0  # without progress, as where a file without an index is searched
MAX_CPU_S = 30
MAX_TRACKS = 64
MAX_DURATION_S = 7 * 86_400.0

OnPicture = Callable[[float, np.ndarray], None]
"""`on_picture(time_s, image)`: image (H, W, 3) uint8."""


@dataclass(frozen=True, slots=True)
class PreviewFacts:
    """What the header, or the last packets, say of a recording; times in seconds of media time."""

    duration_s: float
    player_zero_s: float  # time of the first picture in a player
    audio_tracks: tuple[AudioTrack, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """Facts of a recording, and pictures of it in the order of time."""

    facts: PreviewFacts
    pictures: tuple[tuple[float, np.ndarray], ...] = field(repr=False)  # time in s, (H, W, 3) uint8 RGB


def make_preview(path: Path, limits: MediaLimits, n_pictures: int = N_PICTURES) -> Preview:
    """Preview a file in a confined process, in bounded time whatever its length.

    Raises UNREADABLE_VIDEO, NO_VIDEO, CODEC_REFUSED, DECODER_FAILED and the codes of a limit exceeded. Pictures that
    cannot be found are left out.
    """
    check_file(path, limits)
    bounded = replace(limits, max_cpu_s=MAX_CPU_S, max_stall_s=STALL_S)
    pictures: list[tuple[float, np.ndarray]] = []
    note = {"demuxer": identify_container(path), "n_pictures": n_pictures}
    with WorkerProcess(WORKER_MODULE, path, "preview", note, b"", bounded) as decoder:
        message = decoder.receive()
        try:
            facts = _read_facts(message.note)
            while len(pictures) < n_pictures and (message := decoder.receive()).kind == "picture":
                pictures.append(_read_picture(message.note, message.data))
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise invalid_message(str(cause)) from cause
        except EngineError:  # a picture took too long or was damaged: the others are shown
            pass
    return Preview(facts, tuple(pictures))


def read_preview(
    file: io.FileIO,
    demuxer: str,
    limits: MediaLimits,
    on_facts: Callable[[PreviewFacts], None],
    on_picture: OnPicture,
    on_packet: Callable[[], None],
    n_pictures: int = N_PICTURES,
) -> None:
    """Pass on the facts of a file, then one picture after the other; runs in the confined process."""
    programmes = read_programmes(file) if demuxer == "mpegts" else {}
    with _open(file, demuxer, limits) as (container, video):
        zero_s, start_s = _find_zero(container, video)
        index = None if demuxer in INDEXED else index_packets(container, video, on_packet)
        duration_s = index.duration_s if index else _measure_duration(container, video, zero_s, on_packet)
        duration_s = min(max(duration_s, 0.0), MAX_DURATION_S)
        on_facts(PreviewFacts(duration_s, max(zero_s - start_s, 0.0), list_tracks(container, programmes)))
        times_s = [(number + 0.5) * duration_s / n_pictures for number in range(n_pictures)]
        if index is None:
            pictures = seek_pictures(container, video, zero_s, times_s, demuxer, on_packet)
            _pass_on(pictures, video, on_picture)
    if index is not None and times_s:
        with _open(file, demuxer, limits) as (container, video):
            _pass_on(read_pictures(container, video, index, times_s, on_packet), video, on_picture)


@contextmanager
def _open(file: io.FileIO, demuxer: str, limits: MediaLimits) -> Iterator[tuple[InputContainer, VideoStream]]:
    file.seek(0)
    with open_container(file, demuxer, limits.max_pixels) as container:
        video = pick_video(container)
        check_pixels(video.codec_context.width, video.codec_context.height, limits)
        video.codec_context.options = bound_decoder(limits.max_pixels)
        yield container, video


def _pass_on(pictures: Iterator[tuple[float, VideoFrame]], video: VideoStream, on_picture: OnPicture) -> None:
    """Convert and pass on the pictures found within the time for them."""
    deadline_s, reformatter = time.monotonic() + WORK_S, VideoReformatter()
    for at_s, frame in pictures:
        on_picture(at_s, _convert(frame, video, reformatter))
        if time.monotonic() > deadline_s:
            return


def _read_facts(note: dict[str, Any]) -> PreviewFacts:
    """Read and check facts: the file may have taken control of the confined process."""
    duration_s, zero_s = float(note["duration_s"]), float(note["player_zero_s"])
    tracks = tuple(AudioTrack(**{**one, "channels": tuple(one["channels"])}) for one in note["audio_tracks"])
    if not (0 <= duration_s <= MAX_DURATION_S and 0 <= zero_s <= MAX_DURATION_S and len(tracks) <= MAX_TRACKS):
        raise ValueError(f"a preview of {duration_s} s from {zero_s} s with {len(tracks)} audio tracks")
    return PreviewFacts(duration_s, zero_s, tracks)


def _read_picture(note: dict[str, Any], data: bytes) -> tuple[float, np.ndarray]:
    at_s, width, height = float(note["at_s"]), int(note["width"]), int(note["height"])
    if not (math.isfinite(at_s) and 0 < width <= MAX_WIDTH_PX and 0 < height <= MAX_WIDTH_PX):
        raise ValueError(f"a picture of {width} x {height} at {at_s} s")
    return at_s, np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _find_zero(container: InputContainer, video: VideoStream) -> tuple[float, float]:
    """Return the times of the first picture, and of the first stream, in seconds on the file's own clock."""
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base
    ]
    own = None if video.start_time is None else float(video.start_time * (video.time_base or 0))
    zero_s = own if own is not None else min(starts, default=0.0)
    return zero_s, min([zero_s, *starts])


def _measure_duration(
    container: InputContainer, video: VideoStream, zero_s: float, on_packet: Callable[[], None]
) -> float:
    """Return the duration from the first picture on: of the video stream, or until its last packet.

    A container may declare that of its longest stream, or a wrong one.
    """
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    unit_s, declared_s = float(video.time_base or 0), (container.duration or 0) / av.time_base
    if not unit_s:
        return declared_s
    container.seek(round((zero_s + declared_s) / unit_s), stream=video)
    ends_s = []
    for packet in islice(read_packets(container, video), MAX_PACKETS):
        on_packet()
        if packet.pts is not None:
            ends_s.append((packet.pts + (packet.duration or 0)) * unit_s - zero_s)
    return max(ends_s, default=declared_s)


def _convert(frame: VideoFrame, video: VideoStream, reformatter: VideoReformatter) -> np.ndarray:
    shape = _shrink(read_geometry(frame, video))
    width, height = shape.scaled_px
    (plane,) = reformatter.reformat(frame, width, height, "rgb24").planes
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    image = turn_upright(lines[:height, : 3 * width].reshape(height, width, 3), shape.turn)
    return np.ascontiguousarray(image)


def _shrink(shape: FrameGeometry) -> FrameGeometry:
    """Scale to the height of a preview once upright."""
    width, height = shape.size_px
    scale = min(HEIGHT_PX / height, MAX_WIDTH_PX / width)
    scaled = tuple(max(2, round(side * scale)) for side in shape.scaled_px)
    return FrameGeometry((scaled[0], scaled[1]), shape.turn)
