"""The pictures of a file as a confined process decodes them, handed over through shared memory, a few at a time."""

import contextlib
import fcntl
import mmap
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from engine.sandbox.decoder import Decoder, garbled
from engine.sandbox.wire import SLOTS, Message
from engine.scans import PicturePlan
from engine.settings import MediaLimits
from engine.types import Frame, Reason

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
