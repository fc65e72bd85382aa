"""What a confined process does: one job on one open file, its findings sent over its link.

The pictures of a file as a confined process decodes them, handed over through shared memory, a few at a time.
"""

import contextlib
import fcntl
import io
import mmap
import os
import platform
import resource
import socket
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.media.demux import scan_file
from engine.media.remux import merge_streams
from engine.media.sandbox.confine import confine_worker
from engine.media.sandbox.ipc import SLOTS, Link, Message
from engine.media.sandbox.process import Decoder, garbled
from engine.media.scan import PicturePlan, read_plan
from engine.media.video import stream_pictures
from engine.settings import MediaLimits
from engine.types import Frame, Reason

PULSE_S = 0.5


class Pulse:
    """Tells now and then that the work advances."""

    def __init__(self, link: Link):
        self._link, self._told = link, time.monotonic()

    def __call__(self) -> None:
        """Call it after every packet."""
        if time.monotonic() - self._told > PULSE_S:
            self._told = time.monotonic()
            self._link.send("pulse")


def work(channel: socket.socket, media: int, other: int | None = None) -> None:
    """Do the job that comes over the link on the file open as `media`; nothing else can be reached while it is read.

    `other` is what some jobs want besides: shared memory, or a second file.
    """
    link = Link(channel)
    job = link.receive()
    if job is None:
        return
    limits = MediaLimits(**{field.name: job.note["limits"][field.name] for field in fields(MediaLimits)})
    # a map wants a descriptor of its own, and after this none is to be had any more
    shared = mmap.mmap(other, 0) if other is not None and job.kind == "stream" else other
    if job.kind == "checkpoint":
        limits = _load_torch(limits)
    confine_worker(limits)
    try:
        with io.FileIO(media) as file:
            JOBS[job.kind](link, file, job, limits, shared)
    except EngineError as error:
        link.send("error", {"code": error.code, "message": error.message, "hint": error.hint})
    except MemoryError:
        link.send("error", {"code": "MemoryError"})
    except (BrokenPipeError, ConnectionResetError):  # nobody listens any more
        return
    except Exception as error:  # of a library, on a damaged file: the engine says so in words of its own
        link.send("error", {"message": type(error).__name__})


def _scan(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, other: object) -> None:
    """Send the sound, the times of the pictures and what else one pass over the packets finds."""
    scan = scan_file(file, job.note["demuxer"], limits, lambda piece: link.send("sound", *piece.write()), Pulse(link))
    link.send("scan", *scan.write())


def _stream(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, shared: object) -> None:
    """Make the pictures in the slots in turn, each after the one before it was taken from there; say which is due."""
    assert isinstance(shared, mmap.mmap)
    plan = read_plan(job.note, job.data)
    width, height = plan.shape.size_px
    slots = np.frombuffer(shared, np.uint8, SLOTS * width * height * 3).reshape(SLOTS, height, width, 3)
    n_sent = 0

    def allot() -> np.ndarray:
        """The next slot, when what it held has been taken."""
        if n_sent >= SLOTS and link.receive() is None:
            raise BrokenPipeError("nobody takes pictures any more")
        place: np.ndarray = slots[n_sent % SLOTS]
        return place

    frames = stream_pictures(file, plan, limits, Pulse(link), allot)
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            reasons = end.value
            break
        n_sent += frame.is_new
        link.send("frame", {"is_new": frame.is_new})
    link.send("end", {"reasons": reasons})


class Pieces:
    """A file that is written elsewhere: each piece is sent with its place."""

    def __init__(self, link: Link):
        self._link = link
        self._place = self._end = 0

    def write(self, data: bytes) -> int:
        self._link.send("piece", {"at": self._place}, bytes(data))
        self._place += len(data)
        self._end = max(self._end, self._place)
        return len(data)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._place = place + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        return self._place


def _merge(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, other: object) -> None:
    """Send, piece by piece, one file with the picture of the first file and the sound of the second."""
    assert isinstance(other, int)
    picture_demuxer, sound_demuxer = job.note["demuxers"]
    with io.FileIO(other) as sound:
        merge_streams(file, sound, (picture_demuxer, sound_demuxer), limits, Pieces(link), Pulse(link))
    link.send("end")


def _load_torch(limits: MediaLimits) -> MediaLimits:
    """Import torch, which can be done before the confinement alone, and add its address space to the limit."""
    from engine.weights.checkpoint_reader import warm_up  # here: other jobs need no torch

    warm_up()
    if platform.system() != "Linux":
        return limits
    n_pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return replace(limits, max_memory_bytes=limits.max_memory_bytes + n_pages * resource.getpagesize())


def _read_checkpoint(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, other: object) -> None:
    """Send the tensors of a torch file."""
    from engine.weights.checkpoint_reader import send_checkpoint

    send_checkpoint(link, io.BufferedReader(file), job.note["file"])


def _probe(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, other: object) -> None:
    """Do nothing; the cost of a process."""
    link.send("end")


JOBS: dict[str, Any] = {
    "scan": _scan,
    "stream": _stream,
    "merge": _merge,
    "checkpoint": _read_checkpoint,
    "probe": _probe,
}


SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")  # memory that its other user cuts short would end this process


def play(path: Path, plan: PicturePlan, limits: MediaLimits) -> Generator[Frame, None, tuple[Reason, ...]]:
    """Exactly `plan.n_frames` frames; what `pictures.stream_pictures` yields and returns, decoded elsewhere."""
    width, height = plan.shape.size_px
    with _share_memory(SLOTS * width * height * 3) as (memory, shared):
        slots = np.frombuffer(shared, np.uint8).reshape(SLOTS, height, width, 3)
        note, data = plan.write()
        with Decoder(path, "stream", note, data, limits, memory) as decoder:
            image: np.ndarray | None = None
            n_taken = 0
            for index in range(plan.n_frames):
                is_new = _read_frame(decoder.receive())
                if is_new:
                    image = slots[n_taken % SLOTS].copy()  # (H, W, 3) uint8
                    n_taken += 1
                    decoder.send("taken")
                if image is None:
                    raise garbled("the first picture repeats none")
                yield Frame(index, image, is_new)
            return _read_end(decoder.receive())


def _read_frame(message: Message) -> bool:
    if message.kind != "frame":
        raise garbled(f"{message.kind[:20]!r} where a picture is due")
    return bool(message.note.get("is_new"))


def _read_end(message: Message) -> tuple[Reason, ...]:
    try:
        if message.kind == "end":
            return tuple(Reason(name) for name in message.note["reasons"])
    except (KeyError, TypeError, ValueError) as cause:
        raise garbled("reasons that are none") from cause
    raise garbled(f"{message.kind[:20]!r} after the last picture")


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
