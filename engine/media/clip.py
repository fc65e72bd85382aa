"""Read a media file on one clock: 25 fps frames and 16 kHz mono audio, both placed by presentation time.

The clock starts at the presentation time of the first frame; edit lists and start times are honoured. An audio stream
that starts late or has gaps keeps them, because they are part of the measured AV offset. A confined process decodes
the file, see `engine/media/sandbox`.
"""

import functools
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np

from engine.errors import Code
from engine.media.audio import AudioSegment, RunSegment, SegmentBuilder, place_audio
from engine.media.channels import MIX
from engine.media.containers import identify_container, is_whole
from engine.media.frames import FrameSource, KeyFrames
from engine.media.limits import check_duration, check_file
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import (
    MARGIN_S,
    WORKER_MODULE,
    FramePlan,
    Scan,
    TrackScan,
    read_audio_chunk,
    read_scan,
)
from engine.settings import MediaLimits
from engine.types import FPS, WHOLE, AudioSignal, Clip, Frame, MediaReport, MediaSelection, Reason

DEFAULT_LIMITS = MediaLimits()
MIN_SOURCE_FPS = 15.0
MAX_TOLERANCE_S = 0.5 / FPS  # a frame may be due this late after its grid time: half a frame of the coarser clock
MAX_LAST_PICTURE_S = 1.0  # a longer last frame is an error of the muxer
IRREGULAR = 0.25  # deviation of a frame interval from the median, as a share of the median
MAX_IRREGULAR_SHARE = 0.2
MAX_TRACKS = 32  # of a file


@dataclass(frozen=True, slots=True, eq=False)
class SourceRateFrames:
    """The frames of a file at its own constant rate."""

    rate: Fraction  # frames per second: the mean of the source; 25 where its intervals are too irregular
    n_frames: int  # at that rate
    read_frames: Callable[[], Iterator[Frame]]  # each call streams all n_frames frames again


def open_clip(
    path: Path,
    limits: MediaLimits = DEFAULT_LIMITS,
    sha256: str | None = None,
    selection: MediaSelection = WHOLE,
) -> Clip:
    """Read all audio and the times of all frames, or those of a range; `Clip.read_frames()` streams the frames.

    Raises UNREADABLE_VIDEO (not a video, damaged beyond use), CODEC_REFUSED, DECODER_FAILED, NO_VIDEO (no video
    stream), BAD_SELECTION and the codes of a limit exceeded. A file that is still usable is returned with its reasons:
    TRUNCATED, FPS_VFR, CLOCK_RESET. A known `sha256` avoids hashing the file.
    """
    check_file(path, limits)
    selection = _align(selection)
    if sha256 is None:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    demuxer = identify_container(path)
    is_cut = not is_whole(path, demuxer)
    scan, segments = _scan(path, demuxer, limits, selection)
    plan = _plan_frames(scan, demuxer, limits, selection=selection)
    signals = tuple(
        _place(one, selection.channel or MIX, segments, scan, plan) for one in scan.tracks if one.is_decoded
    )
    read_channel = functools.partial(_read_channel, path, demuxer, limits, selection)
    split = _find_split(scan) if selection.channel is None else {}
    if signals and len(split.get(signals[0].track, ())) == 1:  # the channels cancel: one of them, instead of the mix
        signals = (read_channel(signals[0].track, *split[signals[0].track]), *signals[1:])
    audio = signals[0] if signals else _make_silence(plan.n_frames)
    is_cut = is_cut or scan.damaged
    reasons = {Reason.FPS_VFR: _is_irregular(scan), Reason.TRUNCATED: is_cut, Reason.CLOCK_RESET: bool(scan.seams)}
    return Clip(
        path=path,
        sha256=sha256,
        duration_s=plan.n_frames / FPS,
        n_frames=plan.n_frames,
        size_px=plan.shape.size_px,
        source_fps=_measure_rate(scan),
        has_audio=bool(audio.present.any()),
        audio=audio.samples,
        audio_present=audio.present,
        reasons=tuple(reason for reason, holds in reasons.items() if holds),
        read_frames=FrameSource(path, plan, limits, _list_keys(scan, demuxer)),
        media=_report_media(scan, plan, audio if signals else None),
        signals=signals,
        split=split,
        read_channel=read_channel,
    )


def open_at_source_rate(path: Path, limits: MediaLimits = DEFAULT_LIMITS) -> SourceRateFrames:
    """Open the frames of a file at its own rate, for uses where 25 fps would drop or repeat too many.

    Raises what `open_clip` raises.
    """
    check_file(path, limits)
    demuxer = identify_container(path)
    scan, _ = _scan(path, demuxer, limits, WHOLE)
    rate = Fraction(FPS) if _is_irregular(scan) else Fraction(_measure_rate(scan)).limit_denominator(1001)
    plan = _plan_frames(scan, demuxer, limits, rate)
    return SourceRateFrames(rate, plan.n_frames, FrameSource(path, plan, limits))


def _align(selection: MediaSelection) -> MediaSelection:
    """Move the start to the frame grid; BAD_SELECTION for a range of no length."""
    from_s, to_s = max(0.0, round(selection.from_s * FPS) / FPS), selection.to_s
    if to_s is not None and to_s - from_s < 1 / FPS:
        raise Code.BAD_SELECTION(
            f"The range from {selection.from_s:g} s to {to_s:g} s holds no picture.", "Choose an end behind the start."
        )
    return replace(selection, from_s=from_s)


def _scan(
    path: Path, demuxer: str, limits: MediaLimits, selection: MediaSelection
) -> tuple[Scan, dict[int, tuple[RunSegment, ...]]]:
    """Read all packets once in a confined process; resample the audio of each track here as it arrives."""
    audio: dict[int, SegmentBuilder] = {}
    is_range = selection.from_s > 0 or selection.to_s is not None
    max_audio_s = limits.max_duration_s + (2 * MARGIN_S + 1 if is_range else 0.0)
    note = {"demuxer": demuxer, "selection": asdict(selection)}
    with WorkerProcess(WORKER_MODULE, path, "scan", note, b"", limits) as decoder:
        try:
            while (message := decoder.receive()).kind == "sound":
                chunk = read_audio_chunk(message.note, message.data, limits)
                if len(audio) > MAX_TRACKS:
                    raise ValueError("too many audio tracks")
                audio.setdefault(chunk.track, SegmentBuilder(max_audio_s)).add(chunk)
            scan = read_scan(message.note, message.data, limits)
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise invalid_message(str(cause)) from cause
    return scan, {track: builder.finish() for track, builder in audio.items()}


def _place(
    track: TrackScan, channel: str, segments: dict[int, tuple[RunSegment, ...]], scan: Scan, plan: FramePlan
) -> AudioSignal:
    """Place the audio of a track on the media clock."""
    number, shifts_s = track.track.number, dict(enumerate(track.shifts_s))
    moved = tuple(
        AudioSegment(segment.start_s + shifts_s.get(run, 0.0), segment.samples)
        for run, segment in segments.get(number, ())
    )
    return AudioSignal(number, channel, *place_audio(moved, plan.zero * scan.unit_s + plan.from_s, plan.n_frames))


def _make_silence(n_frames: int) -> AudioSignal:
    return AudioSignal(0, MIX, *place_audio((), 0.0, n_frames))


def _read_channel(
    path: Path, demuxer: str, limits: MediaLimits, selection: MediaSelection, track: int, channel: str
) -> AudioSignal:
    """Decode one channel of a track."""
    chosen = replace(selection, audio_track=track, channel=channel)
    scan, segments = _scan(path, demuxer, limits, chosen)
    found = next(one for one in scan.tracks if one.track.number == track)
    return _place(found, channel, segments, scan, _plan_frames(scan, demuxer, limits, selection=chosen))


def _find_split(scan: Scan) -> dict[int, tuple[str, ...]]:
    """Return the channels to read one by one, of each track for which the mix is wrong."""
    found = {one.track.number: (one.loudest,) if one.cancels else one.differing for one in scan.tracks}
    return {number: channels for number, channels in found.items() if channels}


def _report_media(scan: Scan, plan: FramePlan, audio: AudioSignal | None) -> MediaReport:
    zero_s = scan.zero * scan.unit_s
    tracks = sorted((one.track for one in scan.tracks), key=lambda track: track.number)
    return MediaReport(
        zero_s=zero_s,
        player_zero_s=max(zero_s - scan.start_s, 0.0),
        from_s=plan.from_s,
        to_s=plan.from_s + plan.n_frames / FPS,
        seams=tuple(replace(seam, at_s=seam.at_s - zero_s) for seam in scan.seams),
        audio_track=audio.track if audio else None,
        channel=audio.channel if audio else None,
        audio_tracks=tuple(tracks),
    )


def _plan_frames(
    scan: Scan,
    demuxer: str,
    limits: MediaLimits,
    rate: Fraction = Fraction(FPS),
    selection: MediaSelection = WHOLE,
) -> FramePlan:
    times_s = (scan.times - scan.zero) * scan.unit_s  # (n,) float64
    end_s = float(times_s[-1]) + _measure_last(scan)
    span_s = min(end_s, selection.to_s or end_s) - selection.from_s
    check_duration(span_s, limits)
    return FramePlan(
        demuxer=demuxer,
        stream_index=scan.stream_index,
        shape=scan.shape,
        zero=scan.zero,
        times_s=times_s,
        tolerance_s=min(0.5 / _measure_rate(scan), MAX_TOLERANCE_S),
        n_frames=max(1, round(span_s * rate)),
        rate_hz=float(rate),
        from_s=selection.from_s,
        start=scan.start,
        shifts=scan.shifts,
    )


def _list_keys(scan: Scan, demuxer: str) -> KeyFrames:
    """Return the key frames; none for AVI, where only counting from the start gives the time of a frame."""
    keys = scan.keys if demuxer != "avi" else scan.keys[:0]
    return KeyFrames(keys[:, 0], (keys[:, 1] - scan.zero) * scan.unit_s, scan.zero * scan.unit_s)


def _measure_last(scan: Scan) -> float:
    """Return the duration of the last frame in seconds."""
    if 0 < scan.last_duration_s <= MAX_LAST_PICTURE_S:
        return scan.last_duration_s
    return float(np.median(np.diff(scan.times))) * scan.unit_s if len(scan.times) > 1 else 1 / FPS


def _measure_rate(scan: Scan) -> float:
    """Return the mean frame rate in frames per second."""
    if len(scan.times) == 1:
        return 1 / _measure_last(scan)
    return (len(scan.times) - 1) / (float(scan.times[-1] - scan.times[0]) * scan.unit_s)


def _is_irregular(scan: Scan) -> bool:
    """Return True where the frame rate is too low for lip motion, or irregular: a frozen call, a screen recording."""
    intervals = np.diff(scan.times)
    if _measure_rate(scan) < MIN_SOURCE_FPS or len(intervals) == 0:
        return _measure_rate(scan) < MIN_SOURCE_FPS
    median = np.median(intervals)
    return bool(np.mean(np.abs(intervals - median) > IRREGULAR * median) > MAX_IRREGULAR_SHARE)


Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Yield the items while a thread prefetches up to `depth` more; raise its errors here and close the source.

    PyAV, OpenCV and LiteRT release the GIL, so producer and consumer use two cores.
    """
    source = iter(items)
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    pending: deque[Future[object]] = deque(pool.submit(next, source, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # the result is an Item, since `end` was compared above
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
