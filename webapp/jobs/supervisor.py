"""Keep a number of worker processes running: replace one that ends and free its job immediately."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from engine.errors import EngineError
from webapp.jobs.store import JobStore
from webapp.jobs.worker import name_worker

COMMAND = (sys.executable, "-m", "webapp.cli", "work")
WATCH_S = 0.2
END_S = 10.0  # for a worker to give its job back
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0  # delay before replacing a worker that ended soon after its start
SOON_S = 10.0

_log = logging.getLogger(__name__)


class _Slot:
    """Slot of one worker and its successors."""

    def __init__(self, command: Sequence[str]):
        self._command = [*command, "--parent", str(os.getpid())]
        self._wait_s, self._due = FIRST_WAIT_S, 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def fill(self) -> None:
        """Start a worker, unless the last one ended too soon and the delay is not over."""
        if self.process is None and time.monotonic() >= self._due:
            # a session of its own, so that Ctrl-C reaches it only once, from us
            self.process = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603
            self._started = time.monotonic()

    def take_dead(self) -> int | None:
        """Return the process id of a worker that has ended, once."""
        if self.process is None or self.process.poll() is None:
            return None
        soon = time.monotonic() - self._started < SOON_S
        self._wait_s = min(self._wait_s * 2, LONGEST_WAIT_S) if soon else FIRST_WAIT_S
        self._due = time.monotonic() + (self._wait_s if soon else 0.0)
        pid, self.process = self.process.pid, None
        return pid


class Supervisor:
    """Start workers on entry and end them on exit; their jobs are requeued."""

    def __init__(self, store: JobStore, n_workers: int, command: Sequence[str] = COMMAND):
        self._store = store
        self._places = [_Slot(command) for _ in range(n_workers)]
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left.set()
        self._thread.join()
        processes = [place.process for place in self._places if place.process is not None]
        for process in processes:
            process.terminate()
        end = time.monotonic() + END_S
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self._free(process.pid)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers."""
        return tuple(place.process.pid for place in self._places if place.process is not None)

    def _watch(self) -> None:
        while not self._is_left.is_set():
            for place in self._places:
                dead = place.take_dead()
                if dead is not None:
                    _log.warning("a worker ended (process %d)", dead)
                    self._free(dead)
                place.fill()
            self._is_left.wait(WATCH_S)

    def _free(self, pid: int) -> None:
        try:
            self._store.end_leases(name_worker(pid))
        except EngineError as error:  # the lease will expire by itself
            _log.warning("the jobs of a worker that ended could not be freed at once: %s", error)
