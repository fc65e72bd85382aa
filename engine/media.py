"""A media file on one clock: 25 Hz pictures and 16 kHz mono sound, both placed by presentation time.

The zero of the clock is the first picture's presentation time, edit lists and start times honoured. A sound stream that
starts late or has gaps keeps them: that is the very thing to be measured.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.containers import WANTED, identify_container, is_whole
from engine.errors import MediaTooLarge, NoVideo, UnreadableVideo
from engine.pictures import (
    MAX_MISSING_S,
    MAX_TOLERANCE_S,
    PictureIndex,
    PicturePlan,
    PictureShape,
    bound_decoder,
    check_duration,
    check_pixels,
    open_container,
    read_packets,
    shape_pictures,
    stream_pictures,
)
from engine.settings import MediaLimits
from engine.soundtrack import SoundReader, Stretch, place_sound
from engine.types import FPS, Clip, Frame, Reason

NOT_A_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
DEFAULT_LIMITS = MediaLimits()
MIN_SOURCE_FPS = 15.0
MAX_LAST_PICTURE_S = 1.0  # a longer last picture is a writer's mistake, not something to watch
IRREGULAR = 0.25  # an interval this far off the median one, as a share of it
MAX_IRREGULAR_SHARE = 0.2
COUNTED_CONTAINERS = ("matroska", "avi")  # the duration is in the header alone; MP4 tells of every picture


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What one pass over the packets found; times on the container's own clock."""

    times: np.ndarray  # (n,) int64, sorted, units of the picture stream
    unit_s: float
    last_duration_s: float  # of the picture shown last; 0 where the file does not tell
    shape: PictureShape
    stream_index: int
    stretches: tuple[Stretch, ...]
    declared_end_s: float  # by the header; 0 where it does not tell
    damaged: bool  # packets are incomplete or reading broke off


@dataclass(frozen=True, slots=True, eq=False)
class OwnPictures:
    """The pictures of a file on a clock of the file's own rate."""

    rate: Fraction  # pictures a second: the mean of the source; 25 where its intervals are too unequal
    n_frames: int  # at that rate
    read_frames: Callable[[], Iterator[Frame]]  # each call streams all n_frames frames anew


def open_clip(path: Path, limits: MediaLimits = DEFAULT_LIMITS) -> Clip:
    """Read the whole sound and the times of all pictures; the pictures themselves are streamed by `read_frames()`.

    Raises UnreadableVideo (not a video, damaged beyond use), NoVideo (no moving picture in it) and MediaTooLarge.
    What can still be used is returned with its reasons: TRUNCATED, FPS_VFR.
    """
    _check_file(path, limits)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    demuxer = identify_container(path)
    is_cut = not is_whole(path, demuxer)
    scan = _scan_streams(path, demuxer, limits)
    plan = _plan_pictures(scan, path, demuxer, limits)
    audio, present = place_sound(scan.stretches, plan.zero * scan.unit_s, plan.n_frames)
    is_cut = is_cut or scan.damaged or (demuxer in COUNTED_CONTAINERS and _is_short(scan))
    return Clip(
        path=path,
        sha256=sha256,
        duration_s=plan.n_frames / FPS,
        n_frames=plan.n_frames,
        size_px=plan.shape.size_px,
        source_fps=_measure_rate(scan),
        has_audio=bool(scan.stretches),
        audio=audio,
        audio_present=present,
        reasons=(Reason.FPS_VFR,) * _is_irregular(scan) + (Reason.TRUNCATED,) * is_cut,
        read_frames=functools.partial(stream_pictures, plan),
    )


def open_pictures(path: Path, limits: MediaLimits = DEFAULT_LIMITS) -> OwnPictures:
    """Find the pictures of a file as they follow each other in it, for whom the 25 Hz clock drops or repeats too many.

    Raises what `open_clip` raises.
    """
    _check_file(path, limits)
    demuxer = identify_container(path)
    scan = _scan_streams(path, demuxer, limits)
    rate = Fraction(FPS) if _is_irregular(scan) else Fraction(_measure_rate(scan)).limit_denominator(1001)
    plan = _plan_pictures(scan, path, demuxer, limits, rate)
    return OwnPictures(rate, plan.n_frames, functools.partial(stream_pictures, plan))


def _check_file(path: Path, limits: MediaLimits) -> None:
    if not path.is_file():
        raise UnreadableVideo(f"There is no file {path.name!r}.", "Check the name and the folder.")
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise MediaTooLarge(
            f"The file has {size / 2**20:.0f} MB; at most {limits.max_bytes / 2**20:.0f} are allowed.",
            "Cut it, or export it at 720p.",
        )


def _scan_streams(path: Path, demuxer: str, limits: MediaLimits) -> Scan:
    with open_container(path, demuxer, limits.max_pixels) as container:
        declared_s = (container.duration or 0) / av.time_base
        check_duration(declared_s if demuxer in (*COUNTED_CONTAINERS, "mov") else 0.0, limits)
        video, audio = _pick_video(container), _pick_audio(container)
        check_pixels(video.codec_context.width, video.codec_context.height, limits)
        video.codec_context.options = bound_decoder(limits.max_pixels)
        index, sound = PictureIndex(video, limits), SoundReader(limits.max_duration_s)
        broken_off = _read_all(container, video, audio, index, sound)
        times, unit_s = index.finish(), float(video.time_base or 0)
        if index.first is None or len(times) == 0:
            raise UnreadableVideo(
                f"The file has a picture stream ({video.codec_context.name}), but no picture of it can be decoded.",
                "It may be damaged, truncated or encrypted; export it again, as H.264 in MP4.",
            )
        shape = shape_pictures(index.first, video)
        check_pixels(*shape.scaled_px, limits)
        return Scan(
            times=times,
            unit_s=unit_s,
            last_duration_s=index.last_duration * unit_s,
            shape=shape,
            stream_index=video.index,
            stretches=sound.finish(),
            declared_end_s=declared_s,
            damaged=broken_off or index.damaged or sound.damaged,
        )


def _read_all(
    container: InputContainer, video: VideoStream, audio: AudioStream | None, index: PictureIndex, sound: SoundReader
) -> bool:
    """Hand every packet to its collector; returns True when reading broke off."""
    packets = read_packets(container, *([video, audio] if audio else [video]))
    while True:
        try:
            packet: Packet = next(packets)
        except StopIteration as end:
            return bool(end.value)
        if packet.stream.index == video.index:  # the empty packet at the end has a stream, but no number of its own
            index.add(packet)
        else:
            sound.add(packet)


def _pick_video(container: InputContainer) -> VideoStream:
    films = [stream for stream in container.streams.video if not stream.disposition & NOT_A_FILM]
    if not films:
        raise NoVideo(
            "The file has no video, only " + ("sound." if container.streams.audio else "other streams."),
            f"Choose a video with a face: {WANTED}.",
        )
    for stream in films:
        if stream.codec_context is not None:
            return stream
    raise UnreadableVideo("The picture is coded in a way that cannot be decoded here.", "Export it as H.264 in MP4.")


def _pick_audio(container: InputContainer) -> AudioStream | None:
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def _plan_pictures(
    scan: Scan, path: Path, demuxer: str, limits: MediaLimits, rate: Fraction = Fraction(FPS)
) -> PicturePlan:
    times_s = (scan.times - scan.times[0]) * scan.unit_s  # (n,) float64
    span_s = float(times_s[-1]) + _measure_last(scan)
    check_duration(span_s, limits)
    return PicturePlan(
        path=path,
        demuxer=demuxer,
        stream_index=scan.stream_index,
        max_pixels=limits.max_pixels,
        shape=scan.shape,
        zero=int(scan.times[0]),
        times_s=times_s,
        tolerance_s=min(0.5 / _measure_rate(scan), MAX_TOLERANCE_S),
        n_frames=max(1, round(span_s * rate)),
        rate_hz=float(rate),
    )


def _measure_last(scan: Scan) -> float:
    """Seconds for which the last picture is shown."""
    if 0 < scan.last_duration_s <= MAX_LAST_PICTURE_S:
        return scan.last_duration_s
    return float(np.median(np.diff(scan.times))) * scan.unit_s if len(scan.times) > 1 else 1 / FPS


def _measure_rate(scan: Scan) -> float:
    """Mean pictures per second."""
    if len(scan.times) == 1:
        return 1 / _measure_last(scan)
    return (len(scan.times) - 1) / (float(scan.times[-1] - scan.times[0]) * scan.unit_s)


def _is_irregular(scan: Scan) -> bool:
    """Too few pictures for lips, or intervals too unequal: a frozen call, a screen recording."""
    intervals = np.diff(scan.times)
    if _measure_rate(scan) < MIN_SOURCE_FPS or len(intervals) == 0:
        return _measure_rate(scan) < MIN_SOURCE_FPS
    median = np.median(intervals)
    return bool(np.mean(np.abs(intervals - median) > IRREGULAR * median) > MAX_IRREGULAR_SHARE)


def _is_short(scan: Scan) -> bool:
    """Does the header promise clearly more than could be read?"""
    picture_end_s = float(scan.times[-1]) * scan.unit_s + scan.last_duration_s
    sound_ends_s = [stretch.end_s for stretch in scan.stretches]
    return scan.declared_end_s > max(picture_end_s, *sound_ends_s, 0.0) + MAX_MISSING_S
