"""A media file on one clock: 25 Hz pictures and 16 kHz mono sound, both placed by presentation time.

The zero of the clock is the first picture's presentation time, edit lists and start times honoured. A sound stream that
starts late or has gaps keeps them: that is the very thing to be measured.

Items made by a thread before they are asked for.
"""

import contextlib
import fcntl
import functools
import hashlib
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np

from engine.media.audio import Stretch, StretchBuilder, place_sound
from engine.media.containers import identify_container, is_whole
from engine.media.limits import check_duration, check_file
from engine.media.sandbox.ipc import Message
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import SLOTS, WORKER_MODULE, PicturePlan, Scan, read_scan, read_sound
from engine.settings import MediaLimits
from engine.types import FPS, Clip, Frame, Reason

DEFAULT_LIMITS = MediaLimits()
MIN_SOURCE_FPS = 15.0
MAX_TOLERANCE_S = 0.5 / FPS  # how far ahead of a grid time a picture may be shown: half a frame of the coarser clock
MAX_MISSING_S = 0.5
MAX_LAST_PICTURE_S = 1.0  # a longer last picture is a writer's mistake, not something to watch
IRREGULAR = 0.25  # an interval this far off the median one, as a share of it
MAX_IRREGULAR_SHARE = 0.2
SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")  # memory that its other user cuts short would end this process
COUNTED_CONTAINERS = ("matroska", "avi")  # the duration is in the header alone; MP4 tells of every picture


@dataclass(frozen=True, slots=True, eq=False)
class OwnPictures:
    """The pictures of a file on a clock of the file's own rate."""

    rate: Fraction  # pictures a second: the mean of the source; 25 where its intervals are too unequal
    n_frames: int  # at that rate
    read_frames: Callable[[], Iterator[Frame]]  # each call streams all n_frames frames anew


def open_clip(path: Path, limits: MediaLimits = DEFAULT_LIMITS, sha256: str | None = None) -> Clip:
    """Read the whole sound and the times of all pictures; the pictures themselves are streamed by `read_frames()`.

    Raises UNREADABLE_VIDEO (not a video, damaged beyond use), CODEC_REFUSED, DECODER_FAILED, NO_VIDEO (no moving
    picture in it) and the codes of a limit exceeded. Confined processes alone decode the file, see `engine/sandbox`.
    What can still be used is returned with its reasons: TRUNCATED, FPS_VFR. A known `sha256` spares hashing the file.
    """
    check_file(path, limits)
    if sha256 is None:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    demuxer = identify_container(path)
    is_cut = not is_whole(path, demuxer)
    scan, stretches = _scan(path, demuxer, limits)
    plan = _plan_pictures(scan, demuxer, limits)
    audio, present = place_sound(stretches, plan.zero * scan.unit_s, plan.n_frames)
    is_cut = is_cut or scan.damaged or (demuxer in COUNTED_CONTAINERS and _is_short(scan, stretches))
    return Clip(
        path=path,
        sha256=sha256,
        duration_s=plan.n_frames / FPS,
        n_frames=plan.n_frames,
        size_px=plan.shape.size_px,
        source_fps=_measure_rate(scan),
        has_audio=bool(stretches),
        audio=audio,
        audio_present=present,
        reasons=(Reason.FPS_VFR,) * _is_irregular(scan) + (Reason.TRUNCATED,) * is_cut,
        read_frames=functools.partial(play, path, plan, limits),
    )


def open_pictures(path: Path, limits: MediaLimits = DEFAULT_LIMITS) -> OwnPictures:
    """Find the pictures of a file as they follow each other in it, for whom the 25 Hz clock drops or repeats too many.

    Raises what `open_clip` raises.
    """
    check_file(path, limits)
    demuxer = identify_container(path)
    scan, _ = _scan(path, demuxer, limits)
    rate = Fraction(FPS) if _is_irregular(scan) else Fraction(_measure_rate(scan)).limit_denominator(1001)
    plan = _plan_pictures(scan, demuxer, limits, rate)
    return OwnPictures(rate, plan.n_frames, functools.partial(play, path, plan, limits))


def _scan(path: Path, demuxer: str, limits: MediaLimits) -> tuple[Scan, tuple[Stretch, ...]]:
    """One pass over the packets, by a confined process; the sound comes as it is decoded, and is resampled here."""
    sound = StretchBuilder(limits.max_duration_s)
    with WorkerProcess(WORKER_MODULE, path, "scan", {"demuxer": demuxer}, b"", limits) as decoder:
        try:
            while (message := decoder.receive()).kind == "sound":
                sound.add(read_sound(message.note, message.data, limits))
            scan = read_scan(message.note, message.data, limits)
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise invalid_message(str(cause)) from cause
    return scan, sound.finish()


def _plan_pictures(scan: Scan, demuxer: str, limits: MediaLimits, rate: Fraction = Fraction(FPS)) -> PicturePlan:
    times_s = (scan.times - scan.times[0]) * scan.unit_s  # (n,) float64
    span_s = float(times_s[-1]) + _measure_last(scan)
    check_duration(span_s, limits)
    return PicturePlan(
        demuxer=demuxer,
        stream_index=scan.stream_index,
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


def _is_short(scan: Scan, stretches: tuple[Stretch, ...]) -> bool:
    """Does the header promise clearly more than could be read?"""
    picture_end_s = float(scan.times[-1]) * scan.unit_s + scan.last_duration_s
    sound_ends_s = [stretch.end_s for stretch in stretches]
    return scan.declared_end_s > max(picture_end_s, *sound_ends_s, 0.0) + MAX_MISSING_S


def play(path: Path, plan: PicturePlan, limits: MediaLimits) -> Generator[Frame, None, tuple[Reason, ...]]:
    """Exactly `plan.n_frames` frames; what `pictures.stream_pictures` yields and returns, decoded elsewhere."""
    width, height = plan.shape.size_px
    with _share_memory(SLOTS * width * height * 3) as (memory, shared):
        slots = np.frombuffer(shared, np.uint8).reshape(SLOTS, height, width, 3)
        note, data = plan.write()
        with WorkerProcess(WORKER_MODULE, path, "stream", note, data, limits, memory) as decoder:
            image: np.ndarray | None = None
            n_taken = 0
            for index in range(plan.n_frames):
                is_new = _read_frame(decoder.receive())
                if is_new:
                    image = slots[n_taken % SLOTS].copy()  # (H, W, 3) uint8
                    n_taken += 1
                    decoder.send("taken")
                if image is None:
                    raise invalid_message("the first picture repeats none")
                yield Frame(index, image, is_new)
            return _read_end(decoder.receive())


def _read_frame(message: Message) -> bool:
    if message.kind != "frame":
        raise invalid_message(f"{message.kind[:20]!r} where a picture is due")
    return bool(message.note.get("is_new"))


def _read_end(message: Message) -> tuple[Reason, ...]:
    try:
        if message.kind == "end":
            return tuple(Reason(name) for name in message.note["reasons"])
    except (KeyError, TypeError, ValueError) as cause:
        raise invalid_message("reasons that are none") from cause
    raise invalid_message(f"{message.kind[:20]!r} after the last picture")


@contextlib.contextmanager
def _share_memory(size: int) -> Iterator[tuple[int, mmap.mmap]]:
    """Memory under a descriptor that another process can be handed; its size is fixed."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    try:
        os.ftruncate(memory, size)
        if hasattr(os, "memfd_create"):
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, sum(getattr(fcntl, name) for name in SEALS))
        yield memory, mmap.mmap(memory, size, prot=mmap.PROT_READ)
    finally:
        os.close(memory)


Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Yield the items while a thread prepares up to `depth` more; its errors are raised here, its source is closed.

    PyAV, OpenCV and LiteRT work outside the interpreter's lock, so a second core is busy while the reader keeps the
    first one so.
    """
    source = iter(items)
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    pending: deque[Future[object]] = deque(pool.submit(next, source, end) for _ in range(depth))
    try:
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]  # `end` is no Item, and nothing else comes besides
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
