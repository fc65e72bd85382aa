"""What one pass over a file finds, and the plan to see its pictures again: records that cross between processes.

What is read back was sent by a process that may have been taken over, so every value is checked: ValueError.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from engine.settings import MediaLimits
from engine.types import FPS, SAMPLE_RATE

WORKER_MODULE = "engine.media.worker"  # module with the jobs of the confined process
SLOTS = 4  # pictures in shared memory: decoded, and not yet taken
MAX_PERIOD = 2000  # the exact resampler's filters grow with rate / gcd(rate, 16000)
UPRIGHT = (1, 0, 0, 1)
TURNS = {(a, 0, 0, d) for a in (-1, 1) for d in (-1, 1)} | {(0, b, c, 0) for b in (-1, 1) for c in (-1, 1)}
Written = tuple[dict[str, Any], bytes]


@dataclass(frozen=True, slots=True)
class PictureShape:
    """How decoded pictures become upright ones with square pixels."""

    scaled_px: tuple[int, int]  # width, height before turning
    turn: tuple[int, int, int, int]  # signs of the display matrix a b c d: x' = a x + c y, y' = b x + d y

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self.scaled_px
        return (width, height) if self.turn[0] else (height, width)


@dataclass(frozen=True, slots=True, eq=False)
class PicturePlan:
    """All that is needed to stream the pictures of a file again, in this process or another."""

    demuxer: str
    stream_index: int
    shape: PictureShape
    zero: int  # presentation time of frame 0, in units of the stream
    times_s: np.ndarray  # (n,) float64, sorted, seconds after frame 0 at which a picture is due
    tolerance_s: float
    n_frames: int  # at `rate_hz`
    rate_hz: float = FPS

    def write(self) -> Written:
        """Put it into words and bytes."""
        return _write(self, "times_s")


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """What one pass over the packets found; times on the container's own clock."""

    times: np.ndarray  # (n,) int64, sorted, units of the picture stream
    unit_s: float
    last_duration_s: float  # of the picture shown last; 0 where the file does not tell
    shape: PictureShape
    stream_index: int
    declared_end_s: float  # by the header; 0 where it does not tell
    damaged: bool  # packets are incomplete or reading broke off

    def write(self) -> Written:
        """Put it into words and bytes."""
        return _write(self, "times")


@dataclass(frozen=True, slots=True, eq=False)
class SoundPiece:
    """Sound as it is decoded, mixed to one channel, at the rate of the file."""

    samples: np.ndarray = field(repr=False)  # (n,) float32
    rate_hz: int
    starts_s: float | None  # on the container's own clock; None: it follows the piece before without a break

    def write(self) -> Written:
        """Put it into words and bytes."""
        return _write(self, "samples")


def read_plan(note: dict[str, Any], data: bytes) -> PicturePlan:
    """Read what the engine itself has written."""
    values = {name: note[name] for name in PicturePlan.__slots__ if name in note}
    values["shape"] = _read_shape(note["shape"])
    return PicturePlan(times_s=np.frombuffer(data, np.float64), **values)


def read_scan(note: dict[str, Any], data: bytes, limits: MediaLimits) -> Scan:
    """Read and check what was found; ValueError, KeyError or TypeError for what makes no sense."""
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
        raise ValueError(f"pictures of {width} x {height} turned by {scan.shape.turn}")
    return scan


def read_sound(note: dict[str, Any], data: bytes, limits: MediaLimits) -> SoundPiece:
    """Read and check a piece of sound; ValueError, KeyError or TypeError for what makes no sense."""
    rate, starts = int(note["rate_hz"]), note["starts_s"]
    if not (0 < rate <= limits.max_sound_hz and is_exact(rate)):
        raise ValueError(f"sound at {rate} Hz")
    return SoundPiece(np.frombuffer(data, np.float32), rate, None if starts is None else _number(starts))


def is_exact(rate_hz: int) -> bool:
    """Tell whether the exact resampler can serve this rate."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE) <= MAX_PERIOD


def _write(record: PicturePlan | Scan | SoundPiece, array: str) -> Written:
    note = {name: getattr(record, name) for name in record.__slots__ if name != array}
    if "shape" in note:
        note["shape"] = asdict(note["shape"])
    return note, getattr(record, array).tobytes()


def _read_shape(note: dict[str, Any]) -> PictureShape:
    (width, height), (a, b, c, d) = note["scaled_px"], note["turn"]
    return PictureShape((int(width), int(height)), (int(a), int(b), int(c), int(d)))


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} where a number was wanted")
    return float(value)
