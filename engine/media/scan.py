"""Records exchanged with the confined process: the scan of a file, audio chunks, and the plan to stream its frames.

The file may have taken control of the confined process, so every value read from it is checked (ValueError).
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from engine.settings import MediaLimits
from engine.types import FPS, SAMPLE_RATE

WORKER_MODULE = "engine.media.worker"  # module with the jobs of the confined process
SLOTS = 4  # frames in shared memory: decoded and not yet copied
MAX_PERIOD = 2000  # the filters of the exact resampler grow with rate / gcd(rate, 16000)
UPRIGHT = (1, 0, 0, 1)
TURNS = {(a, 0, 0, d) for a in (-1, 1) for d in (-1, 1)} | {(0, b, c, 0) for b in (-1, 1) for c in (-1, 1)}
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


@dataclass(frozen=True, slots=True, eq=False)
class FramePlan:
    """Parameters to stream the frames of a file on a constant frame rate."""

    demuxer: str
    stream_index: int
    shape: FrameGeometry
    zero: int  # presentation time of frame 0, in units of the stream
    times_s: np.ndarray  # (n,) float64, sorted: presentation times of the source frames, seconds after frame 0
    tolerance_s: float
    n_frames: int  # at `rate_hz`
    rate_hz: float = FPS

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the array."""
        return _write(self, "times_s")


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Result of one pass over the packets; times on the clock of the container."""

    times: np.ndarray  # (n,) int64, sorted, in units of the video stream
    unit_s: float
    last_duration_s: float  # duration of the frame shown last; 0 where unknown
    shape: FrameGeometry
    stream_index: int
    declared_end_s: float  # from the header; 0 where unknown
    damaged: bool  # packets are incomplete or reading broke off

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the array."""
        return _write(self, "times")


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Decoded audio, mixed to one channel, at the rate of the file."""

    samples: np.ndarray = field(repr=False)  # (n,) float32
    rate_hz: int
    starts_s: float | None  # on the clock of the container; None: continues the previous chunk

    def write(self) -> Written:
        """Serialise to a JSON object and the bytes of the array."""
        return _write(self, "samples")


def read_plan(note: dict[str, Any], data: bytes) -> FramePlan:
    """Read a plan written by the engine."""
    values = {name: note[name] for name in FramePlan.__slots__ if name in note}
    values["shape"] = _read_shape(note["shape"])
    return FramePlan(times_s=np.frombuffer(data, np.float64), **values)


def read_scan(note: dict[str, Any], data: bytes, limits: MediaLimits) -> Scan:
    """Read and check a scan. Raises ValueError, KeyError or TypeError for an invalid one."""
    times = np.frombuffer(data, np.int64)
    scan = Scan(
        times=times,
        unit_s=_number(note["unit_s"]),
        last_duration_s=_number(note["last_duration_s"]),
        shape=_read_shape(note["shape"]),
        stream_index=int(note["stream_index"]),
        declared_end_s=_number(note["declared_end_s"]),
        damaged=bool(note["damaged"]),
    )
    width, height = scan.shape.scaled_px
    if not (0 < len(times) <= limits.max_source_frames and (np.diff(times) > 0).all() and scan.unit_s > 0):
        raise ValueError(f"{len(times)} times in units of {scan.unit_s} s")
    if min(width, height) < 1 or width * height > limits.max_pixels or scan.shape.turn not in TURNS:
        raise ValueError(f"frames of {width} x {height} rotated by {scan.shape.turn}")
    return scan


def read_audio_chunk(note: dict[str, Any], data: bytes, limits: MediaLimits) -> AudioChunk:
    """Read and check an audio chunk. Raises ValueError, KeyError or TypeError for an invalid one."""
    rate, starts = int(note["rate_hz"]), note["starts_s"]
    if not (0 < rate <= limits.max_sound_hz and is_exactly_resampled(rate)):
        raise ValueError(f"audio at {rate} Hz")
    return AudioChunk(np.frombuffer(data, np.float32), rate, None if starts is None else _number(starts))


def is_exactly_resampled(rate_hz: int) -> bool:
    """Return True where the exact resampler supports this rate."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE) <= MAX_PERIOD


def _write(record: FramePlan | Scan | AudioChunk, array: str) -> Written:
    note = {name: getattr(record, name) for name in record.__slots__ if name != array}
    if "shape" in note:
        note["shape"] = asdict(note["shape"])
    return note, getattr(record, array).tobytes()


def _read_shape(note: dict[str, Any]) -> FrameGeometry:
    (width, height), (a, b, c, d) = note["scaled_px"], note["turn"]
    return FrameGeometry((int(width), int(height)), (int(a), int(b), int(c), int(d)))


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)
