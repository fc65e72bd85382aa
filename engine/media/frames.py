"""Stream the frames of a clip, or a range of them, from a confined process that decodes them."""

import contextlib
import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from engine.media.containers import SEEKING
from engine.media.sandbox.ipc import Message
from engine.media.sandbox.process import WorkerProcess, invalid_message
from engine.media.scan import SLOTS, WORKER_MODULE, FramePlan, StreamEnd, VideoStart, find_reasons, read_end
from engine.settings import MediaLimits
from engine.types import Frame, Reason

SEALS = (
    "F_SEAL_SHRINK",
    "F_SEAL_GROW",
    "F_SEAL_SEAL",
)  # shared memory that the other process truncates would crash this one


@dataclass(frozen=True, slots=True, eq=False)
class KeyFrames:
    """Key frames of a clip, in the order of the file."""

    packets: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (k,) numbers, as in `VideoStart`
    times_s: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (k,) after the first picture of the file
    zero_s: float = 0.0  # time of that picture on the clock of the container


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """The frames of a clip; each call and each range is decoded by a confined process of its own."""

    path: Path
    plan: FramePlan
    limits: MediaLimits
    keys: KeyFrames = field(default_factory=KeyFrames)
    change: Callable[[Frame], Frame] | None = None  # of each frame

    def __call__(self) -> Generator[Frame, None, tuple[Reason, ...]]:
        """Stream all frames; return the reasons found by decoding: TRUNCATED, FPS_VFR.

        A caller receives them by `reasons = yield from clip.read_frames()`.
        """
        return find_reasons([(yield from self.read_range(0, self.plan.n_frames))])

    def read_range(self, first: int, last: int) -> Generator[Frame, None, StreamEnd]:
        """Stream the frames `first` to `last - 1`, decoded from the key frame before; the indices are of the clip."""
        with contextlib.closing(_stream_frames(self.path, self._plan_range(first, last), self.limits)) as frames:
            while True:
                try:
                    frame = next(frames)
                except StopIteration as end:
                    counts: StreamEnd = end.value
                    return counts
                yield frame if self.change is None else self.change(frame)

    def measure_lead(self, first: int) -> int:
        """Return how many frames before `first` decoding begins for a range from there."""
        key = self._find_key(self._find_shown(first))
        if key is None:
            return first
        return max(0, first - int((self.keys.times_s[key] - self.plan.from_s) * self.plan.rate_hz))

    def _plan_range(self, first: int, last: int) -> FramePlan:
        plan, shown = replace(self.plan, first=first, n_frames=last), self._find_shown(first)
        key = self._find_key(shown)
        if first == 0 or key is None:
            return plan
        nearer = [replace(plan.start, n_skipped=int(self.keys.packets[key]))]
        if plan.demuxer in SEEKING and not plan.shifts:  # which count the packets from the start
            nearer.insert(0, VideoStart(float(self.keys.times_s[key]) + self.keys.zero_s))
        return replace(plan, times_s=plan.times_s[shown:], nearer=tuple(nearer))

    def _find_shown(self, index: int) -> int:
        """Return the number of the source frame that a frame shows."""
        plan = self.plan
        due_s = plan.from_s + index / plan.rate_hz + plan.tolerance_s
        return max(int(np.searchsorted(plan.times_s, due_s, side="right")) - 1, 0)

    def _find_key(self, shown: int) -> int | None:
        """Return the number of the last key frame that is not behind a source frame."""
        before = np.flatnonzero(self.keys.times_s <= self.plan.times_s[shown])
        return int(before[-1]) if len(before) else None


def _stream_frames(path: Path, plan: FramePlan, limits: MediaLimits) -> Generator[Frame, None, StreamEnd]:
    """Yield and return what `engine.media.video.stream_frames` does."""
    width, height = plan.shape.size_px
    with _share_memory(SLOTS * width * height * 3) as (memory, shared):
        slots = np.frombuffer(shared, np.uint8).reshape(SLOTS, height, width, 3)
        note, data = plan.write()
        with WorkerProcess(WORKER_MODULE, path, "stream", note, data, limits, memory) as decoder:
            image: np.ndarray | None = None
            n_taken = 0
            for index in range(plan.first, plan.n_frames):
                is_new = _read_frame(decoder.receive())
                if is_new:
                    image = slots[n_taken % SLOTS].copy()  # (H, W, 3) uint8
                    n_taken += 1
                    decoder.send("taken")
                if image is None:
                    raise invalid_message("the first frame repeats an earlier one")
                yield Frame(index, image, is_new)
            return _read_end(decoder.receive())


def _read_frame(message: Message) -> bool:
    if message.kind != "frame":
        raise invalid_message(f"{message.kind[:20]!r} where a frame is due")
    return bool(message.note.get("is_new"))


def _read_end(message: Message) -> StreamEnd:
    try:
        if message.kind == "end":
            return read_end(message.note)
    except (KeyError, TypeError, ValueError, OverflowError) as cause:
        raise invalid_message("invalid counts") from cause
    raise invalid_message(f"{message.kind[:20]!r} after the last frame")


@contextlib.contextmanager
def _share_memory(size: int) -> Iterator[tuple[int, mmap.mmap]]:
    """Yield the descriptor and a read-only map of memory of fixed size, to share with another process."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
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
