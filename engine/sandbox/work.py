"""What a confined process does: one job on one open file, its findings sent over its link."""

import io
import mmap
import socket
import time
from dataclasses import fields
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.packets import scan_file
from engine.pictures import stream_pictures
from engine.sandbox.confinement import confine
from engine.sandbox.wire import SLOTS, Link, Message
from engine.scans import read_plan
from engine.settings import MediaLimits

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


def work(channel: socket.socket, media: int, memory: int | None = None) -> None:
    """Do the job that comes over the link on the file open as `media`; nothing else can be reached while it is read."""
    link = Link(channel)
    job = link.receive()
    if job is None:
        return
    limits = MediaLimits(**{field.name: job.note["limits"][field.name] for field in fields(MediaLimits)})
    shared = None if memory is None else mmap.mmap(memory, 0)  # before no descriptor is to be had any more
    confine(limits)
    try:
        with io.FileIO(media) as file:
            JOBS[job.kind](link, file, job, limits, shared)
    except EngineError as error:
        link.send("error", {"name": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        link.send("error", {"name": "MemoryError"})
    except (BrokenPipeError, ConnectionResetError):  # nobody listens any more
        return
    except Exception as error:  # of a library, on a damaged file: the engine says so in words of its own
        link.send("error", {"name": "Exception", "message": type(error).__name__})


def _scan(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, shared: mmap.mmap | None) -> None:
    """Send the sound, the times of the pictures and what else one pass over the packets finds."""
    scan = scan_file(file, job.note["demuxer"], limits, lambda piece: link.send("sound", *piece.write()), Pulse(link))
    link.send("scan", *scan.write())


def _stream(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, shared: mmap.mmap | None) -> None:
    """Put the pictures into the slots in turn, each after the one before it was taken from there; say which is due."""
    assert shared is not None
    plan = read_plan(job.note, job.data)
    width, height = plan.shape.size_px
    slots = np.frombuffer(shared, np.uint8, SLOTS * width * height * 3).reshape(SLOTS, height, width, 3)
    frames, n_sent, reasons = stream_pictures(file, plan, limits, Pulse(link)), 0, ()
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            reasons = end.value
            break
        if frame.is_new:
            if n_sent >= SLOTS and link.receive() is None:
                return
            slots[n_sent % SLOTS] = frame.image
            n_sent += 1
        link.send("frame", {"is_new": frame.is_new})
    link.send("end", {"reasons": reasons})


def _probe(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, shared: mmap.mmap | None) -> None:
    """Do nothing; the cost of a process."""
    link.send("end")


JOBS: dict[str, Any] = {"scan": _scan, "stream": _stream, "probe": _probe}
