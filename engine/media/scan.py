"""Records exchanged with the confined process: the scan of a file, audio chunks, and the plan to stream its frames.

The file may have taken control of the confined process, so every value read from it is checked (ValueError).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

import numpy as np

from engine.settings import MediaLimits
from engine.types import FPS, SAMPLE_RATE, AudioTrack, ClockSeam, MediaSelection, Reason

WORKER_MODULE = "engine.media.worker"  # module with the jobs of the confined process
SLOTS = 4  # frames in shared memory: decoded and not yet copied
MARGIN_S = 2.0  # of audio read around a range
MAX_PERIOD = 2000  # the filters of the exact resampler grow with rate / gcd(rate, 16000)
UPRIGHT = (1, 0, 0, 1)
TURNS = {(a, 0, 0, d) for a in (-1, 1) for d in (-1, 1)} | {(0, b, c, 0) for b in (-1, 1) for c in (-1, 1)}
MAX_TEXT = 80  # characters of a language, title or name from the file
MAX_DAMAGED_SHARE = 0.01  # of the frames
MAX_COPIED_SHARE = 0.2  # of the source frames
Written = tuple[dict[str, Any], bytes]


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Scaling and rotation that make decoded frames upright with square pixels."""

    scaled_px: tuple[int, int]  # width, height before the rotation
    turn: tuple[int, int, int, int]  # signs of the display matrix a b c d: x' = a x + c y, y' = b x + d y

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the upright frame."""
        width, height = self.scaled_px
        return (width, height) if self.turn[0] else (height, width)


@dataclass(frozen=True, slots=True)
class VideoStart:
    """Where decoding begins: `seek_s` on the clock of the container, then `n_skipped` packets of the video stream."""

    seek_s: float | None = None  # None: read from the start of the file
    n_skipped: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FramePlan:
    """Parameters to stream the frames of a file on a constant frame rate."""

    demuxer: str
    stream_index: int
    shape: FrameGeometry
    zero: int  # presentation time of the first picture of the file, in units of the stream
    times_s: np.ndarray  # (n,) float64, sorted: times of the source frames from the first decoded, seconds after `zero`
    tolerance_s: float
    n_frames: int  # at `rate_hz`
    rate_hz: float = FPS
    from_s: float = 0.0  # of frame 0, after `zero`
    start: VideoStart = VideoStart()
    shifts: tuple[
        tuple[int, int], ...
    ] = ()  # number of a video packet and what is added to its time and the next ones'
    first: int = 0  # frames `first` to `n_frames - 1` are streamed
    nearer: tuple[VideoStart, ...] = ()
    """Starts to try before `start`: each counts only if the frame shown first is then that of `times_s[0]`."""

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the array."""
        return _write(self, self.times_s)


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """Counts known after decoding frames."""

    n_shown: int  # source frames
    n_copied: int  # of them, with the image of the one before
    n_decoded: int
    n_damaged: int
    is_cut_off: bool  # the decoder ended before the last frame


def find_reasons(ends: Sequence[StreamEnd]) -> tuple[Reason, ...]:
    """Return the reasons found by decoding the ranges of a clip."""
    shown, copied, decoded, damaged = (
        sum(getattr(end, name) for end in ends) for name in ("n_shown", "n_copied", "n_decoded", "n_damaged")
    )
    reasons = {
        Reason.FPS_VFR: copied > MAX_COPIED_SHARE * shown,
        Reason.TRUNCATED: damaged > MAX_DAMAGED_SHARE * decoded or any(end.is_cut_off for end in ends),
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


@dataclass(frozen=True, slots=True)
class TrackScan:
    """One audio track of a file as found by the scan."""

    track: AudioTrack
    is_decoded: bool
    shifts_s: tuple[float, ...] = ()  # of each run of its timestamps
    cancels: bool = False  # its channels cancel in their mix; `loudest` does not
    loudest: str = ""
    differing: tuple[str, ...] = ()  # channels that hold sound of their own


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Result of one pass over the packets; times on the joined clock of the container."""

    times: np.ndarray  # (n,) int64, sorted, in units of the video stream, from the first picture to decode
    unit_s: float
    last_duration_s: float  # duration of the frame shown last; 0 where unknown
    shape: FrameGeometry
    stream_index: int
    damaged: bool  # over 1 % of the packets are incomplete, or reading broke off
    zero: int = 0  # time of the first picture of the file, in units of the video stream
    start_s: float = 0.0  # the earliest time of any stream, where the clock of a player begins
    start: VideoStart = VideoStart()
    shifts: tuple[tuple[int, int], ...] = ()  # as in `FramePlan`
    seams: tuple[ClockSeam, ...] = ()
    tracks: tuple[TrackScan, ...] = ()  # every audio track, the preferred one first
    keys: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """(k, 2) int64: number of the packet of each key frame, counted as in `start`, and its time as in `times`."""

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the arrays."""
        return _write(self, self.times, self.keys)


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Decoded audio of a track, mixed to one channel, at the rate of the file."""

    samples: np.ndarray = field(repr=False)  # (n,) float32
    rate_hz: int
    starts_s: float | None  # on the clock of the container; None: continues the previous chunk
    track: int = 1
    run: int = 0  # number of the run of timestamps, see `TrackScan.shifts_s`

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the array."""
        return _write(self, self.samples)


def read_plan(note: dict[str, Any], data: bytes) -> FramePlan:
    """Read a plan written by the engine."""
    values = {name: note[name] for name in FramePlan.__slots__ if name in note}
    values["shape"], values["start"] = _read_shape(note["shape"]), _read_start(note["start"])
    values["nearer"] = tuple(map(_read_start, note["nearer"]))
    values["shifts"] = _read_shifts(note["shifts"])
    return FramePlan(times_s=np.frombuffer(data, np.float64), **values)


def read_selection(note: dict[str, Any]) -> MediaSelection:
    """Read a selection written by the engine with `dataclasses.asdict`; the whole file where there is none."""
    return MediaSelection(**note.get("selection", {}))


def read_scan(note: dict[str, Any], data: bytes, limits: MediaLimits) -> Scan:
    """Read and check a scan. Raises ValueError, KeyError or TypeError for an invalid one."""
    numbers, n_keys = np.frombuffer(data, np.int64), int(note["n_keys"])
    if not 0 <= 2 * n_keys <= len(numbers):
        raise ValueError(f"{n_keys} key frames")
    times, keys = numbers[: len(numbers) - 2 * n_keys], numbers[len(numbers) - 2 * n_keys :].reshape(n_keys, 2)
    scan = Scan(
        times=times,
        unit_s=_number(note["unit_s"]),
        last_duration_s=_number(note["last_duration_s"]),
        shape=_read_shape(note["shape"]),
        stream_index=int(note["stream_index"]),
        damaged=bool(note["damaged"]),
        zero=int(note["zero"]),
        start_s=_number(note["start_s"]),
        start=_read_start(note["start"]),
        shifts=_read_shifts(note["shifts"]),
        seams=tuple(ClockSeam(*(_number(seam[name]) for name in ClockSeam.__slots__)) for seam in note["seams"]),
        tracks=tuple(map(_read_track, note["tracks"])),
        keys=keys,
    )
    width, height = scan.shape.scaled_px
    if not (0 < len(times) <= limits.max_source_frames and (np.diff(times) > 0).all() and scan.unit_s > 0):
        raise ValueError(f"{len(times)} times in units of {scan.unit_s} s")
    if n_keys and not (keys[0, 0] >= 0 and (np.diff(keys[:, 0]) > 0).all()):
        raise ValueError("the packets of key frames are not in order")
    if min(width, height) < 1 or width * height > limits.max_pixels or scan.shape.turn not in TURNS:
        raise ValueError(f"frames of {width} x {height} rotated by {scan.shape.turn}")
    return scan


def read_audio_chunk(note: dict[str, Any], data: bytes, limits: MediaLimits) -> AudioChunk:
    """Read and check an audio chunk. Raises ValueError, KeyError or TypeError for an invalid one."""
    rate, starts = int(note["rate_hz"]), note["starts_s"]
    if not (0 < rate <= limits.max_sound_hz and is_exactly_resampled(rate)):
        raise ValueError(f"audio at {rate} Hz")
    samples = np.frombuffer(data, np.float32)
    return AudioChunk(samples, rate, None if starts is None else _number(starts), int(note["track"]), int(note["run"]))


def is_exactly_resampled(rate_hz: int) -> bool:
    """Return True where the exact resampler supports this rate."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE) <= MAX_PERIOD


def read_end(note: dict[str, Any]) -> StreamEnd:
    """Read and check the counts of a stream. Raises ValueError, KeyError or TypeError for invalid ones."""
    shown, copied, decoded, damaged = (int(note[name]) for name in ("n_shown", "n_copied", "n_decoded", "n_damaged"))
    return StreamEnd(shown, copied, decoded, damaged, bool(note["is_cut_off"]))


def _write(record: FramePlan | Scan | AudioChunk, *arrays: np.ndarray) -> Written:
    values = {name: getattr(record, name) for name in record.__slots__}
    note = {name: _to_plain(value) for name, value in values.items() if not isinstance(value, np.ndarray)}
    if isinstance(record, Scan):
        note["n_keys"] = len(record.keys)
    return note, b"".join(array.tobytes() for array in arrays)


def _to_plain(value: Any) -> Any:
    """Convert dataclasses to dicts and tuples to lists."""
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _read_shape(note: dict[str, Any]) -> FrameGeometry:
    (width, height), (a, b, c, d) = note["scaled_px"], note["turn"]
    return FrameGeometry((int(width), int(height)), (int(a), int(b), int(c), int(d)))


def _read_start(note: dict[str, Any]) -> VideoStart:
    seek_s = note["seek_s"]
    return VideoStart(None if seek_s is None else _number(seek_s), int(note["n_skipped"]))


def _read_shifts(note: list[Any]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(shift)) for first, shift in note)


def _read_track(note: dict[str, Any]) -> TrackScan:
    track = note["track"]
    return TrackScan(
        track=AudioTrack(
            number=int(track["number"]),
            codec=str(track["codec"])[:MAX_TEXT],
            channels=tuple(str(name)[:MAX_TEXT] for name in track["channels"]),
            language=None if track["language"] is None else str(track["language"])[:MAX_TEXT],
            title=None if track["title"] is None else str(track["title"])[:MAX_TEXT],
            is_default=bool(track["is_default"]),
            program=None if track["program"] is None else int(track["program"]),
        ),
        is_decoded=bool(note["is_decoded"]),
        shifts_s=tuple(_number(shift) for shift in note["shifts_s"]),
        cancels=bool(note["cancels"]),
        loudest=str(note["loudest"])[:MAX_TEXT],
        differing=tuple(str(name)[:MAX_TEXT] for name in note["differing"]),
    )


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
