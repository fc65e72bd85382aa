"""Run one job in a confined process: receive it, confine the process, call its function, send errors.

The jobs are defined by worker modules outside the sandbox, each of which has a `Worker` named `WORKER`.
"""

import io
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from engine.errors import EngineError
from engine.media.sandbox.confine import confine_worker
from engine.media.sandbox.ipc import Link, Message
from engine.settings import MediaLimits

PULSE_S = 0.5
Job = Callable[[Link, io.FileIO, Message, MediaLimits, Any], None]  # the last argument is the extra of `Worker.prepare`


@dataclass(frozen=True, slots=True)
class Worker:
    """The jobs that one fork server runs.

    A confined process can open no file, so `load_libraries` imports in the fork server whatever the jobs import. Before
    the confinement `prepare` receives the kind of the job, its limits and the extra descriptor; it returns the limits
    to apply and the extra to pass to the job.
    """

    jobs: Mapping[str, Job]
    load_libraries: Callable[[], None]
    prepare: Callable[[str, MediaLimits, int | None], tuple[MediaLimits, Any]]


class Pulse:
    """Sends a sign of progress, at most one every 0.5 s."""

    def __init__(self, link: Link):
        self._link, self._sent = link, time.monotonic()

    def __call__(self) -> None:
        """Report progress; call it after every packet."""
        if time.monotonic() - self._sent > PULSE_S:
            self._sent = time.monotonic()
            self._link.send("pulse")


def run_job(worker: Worker, channel: socket.socket, file: int, extra: int | None = None) -> None:
    """Run the job received over the channel on the file open as `file`; nothing else is reachable meanwhile.

    `extra` is a second descriptor that some jobs need: shared memory, or a second file.
    """
    link = Link(channel)
    job = link.receive()
    if job is None:
        return
    limits = MediaLimits(**{field.name: job.note["limits"][field.name] for field in fields(MediaLimits)})
    limits, prepared = worker.prepare(job.kind, limits, extra)
    confine_worker(limits)
    try:
        with io.FileIO(file) as opened:
            worker.jobs[job.kind](link, opened, job, limits, prepared)
    except EngineError as error:
        link.send("error", {"code": error.code, "message": error.message, "hint": error.hint})
    except MemoryError:
        link.send("error", {"code": "MemoryError"})
    except (BrokenPipeError, ConnectionResetError):  # the engine has closed its end
        return
    except Exception as error:  # of a library, on a damaged file: the engine has its own message for it
        link.send("error", {"message": type(error).__name__})
