"""Jobs of the confined process that decodes media: preview, scan the packets, stream the frames, merge two files."""

import importlib
import io
import mmap
import pkgutil
from dataclasses import asdict
from typing import Any

import av
import numpy as np

from engine.media.demux import scan_file
from engine.media.preview import read_preview
from engine.media.remux import merge_streams
from engine.media.sandbox.ipc import Link, Message
from engine.media.sandbox.job import Pulse, Worker
from engine.media.scan import SLOTS, read_plan, read_selection
from engine.media.video import stream_frames
from engine.settings import MediaLimits


def _load_libraries() -> None:
    """Import what PyAV and numpy import at first use."""
    names = [module.name for module in pkgutil.walk_packages(av.__path__, "av.")]
    for name in [*names, "numpy.ma"]:
        importlib.import_module(name)


def _prepare(kind: str, limits: MediaLimits, extra: int | None) -> tuple[MediaLimits, Any]:
    """Map the shared memory: mmap duplicates the descriptor, which the confinement forbids."""
    return limits, mmap.mmap(extra, 0) if extra is not None and kind == "stream" else extra


def _scan(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, extra: object) -> None:
    """Send the audio in pieces, then the frame times and properties found in one pass over the packets."""
    selection = read_selection(job.note)
    scan = scan_file(
        file, job.note["demuxer"], limits, lambda piece: link.send("sound", *piece.write()), Pulse(link), selection
    )
    link.send("scan", *scan.write())


def _stream(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, shared: object) -> None:
    """Decode the frames into the slots of the shared memory in turn, and announce each; a slot is reused once free."""
    assert isinstance(shared, mmap.mmap)
    plan = read_plan(job.note, job.data)
    width, height = plan.shape.size_px
    slots = np.frombuffer(shared, np.uint8, SLOTS * width * height * 3).reshape(SLOTS, height, width, 3)
    n_sent = 0

    def allot() -> np.ndarray:
        """Return the next slot, (H, W, 3) uint8, after waiting until it is free."""
        if n_sent >= SLOTS and link.receive() is None:
            raise BrokenPipeError("the reader of the frames is gone")
        slot: np.ndarray = slots[n_sent % SLOTS]
        return slot

    frames = stream_frames(file, plan, limits, Pulse(link), allot)
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            counts = end.value
            break
        n_sent += frame.is_new
        link.send("frame", {"is_new": frame.is_new})
    link.send("end", asdict(counts))


class PieceSender:
    """File-like output that sends each written piece with its position."""

    def __init__(self, link: Link):
        self._link = link
        self._position = self._end = 0

    def write(self, data: bytes) -> int:
        self._link.send("piece", {"at": self._position}, bytes(data))
        self._position += len(data)
        self._end = max(self._end, self._position)
        return len(data)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self._position = place + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        return self._position


def _merge(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, extra: object) -> None:
    """Send, piece by piece, one file with the video of the first file and the audio of the second."""
    assert isinstance(extra, int)
    video_demuxer, audio_demuxer = job.note["demuxers"]
    with io.FileIO(extra) as audio:
        demuxers, language = (video_demuxer, audio_demuxer), job.note["language"]
        merge_streams(file, audio, demuxers, limits, PieceSender(link), Pulse(link), language)
    link.send("end")


def _preview(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, extra: object) -> None:
    """Send the facts of the file, then each picture."""

    def send_picture(at_s: float, image: np.ndarray) -> None:
        height, width, _ = image.shape
        link.send("picture", {"at_s": at_s, "width": width, "height": height}, image.tobytes())

    pulse = Pulse(link)
    read_preview(
        file,
        job.note["demuxer"],
        limits,
        lambda facts: link.send("facts", asdict(facts)),
        send_picture,
        pulse,
        job.note["n_pictures"],
    )
    link.send("end")


def _probe(link: Link, file: io.FileIO, job: Message, limits: MediaLimits, extra: object) -> None:
    """Do nothing, to measure the cost of a process."""
    link.send("end")


JOBS = {"scan": _scan, "stream": _stream, "preview": _preview, "merge": _merge, "probe": _probe}
WORKER = Worker(JOBS, _load_libraries, _prepare)
