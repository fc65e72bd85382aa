"""Worker process: takes one job at a time and renews its lease in a thread; maps engine steps to progress."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.errors import EngineError
from engine.fetch.fetch import FetchedMedia, fetch
from engine.fetch.items import SeveralVideos
from webapp.analysis.analyser import Analyser
from webapp.errors import WebCode
from webapp.jobs.cleanup import clean_folder, sweep
from webapp.jobs.records import Job, JobStopped
from webapp.jobs.store import JobStore
from webapp.jobs.time_left import TimeLeft

SHARES = {
    "fetch": (0.0, 0.1),
    "read": (0.1, 0.13),
    "speech": (0.13, 0.16),
    "faces": (0.16, 0.72),
    "lips": (0.72, 0.74),
    "mouths": (0.74, 0.9),
    "crops": (0.74, 0.9),
    "score": (0.9, 0.93),
    "sounds": (0.93, 0.95),
    "embed": (0.95, 0.98),
    "search": (0.98, 1.0),
}
"""Start and end of each step on a scale from 0 to 1; an uploaded file starts at its reading."""
BEAT_S = 1.0  # between lease renewals, which also report a cancellation
POLL_S = 0.3  # between queries for a job
SWEEP_S = 600.0  # between cleanups
NO_MEMORY = ("MemoryError", "OutOfMemoryError")  # the second is torch's


@dataclass(frozen=True, slots=True)
class Progress:
    """Current step and overall progress."""

    step: str = ""
    share: float = 0.0


def measure_progress(name: str, completed: int, total: int) -> Progress:
    """Return the overall progress at a step of the engine; an unknown step leaves it unchanged."""
    begin, end = SHARES.get(name, (0.0, 0.0))
    done = min(completed / total, 1.0) if total > 0 else 0.0
    return Progress(name, begin + (end - begin) * done)


_log = logging.getLogger(__name__)


def name_worker(pid: int | None = None) -> str:
    """Return the worker name of a process on this machine, by default of this one."""
    return f"{socket.gethostname()}-{os.getpid() if pid is None else pid}"


class Heartbeat:
    """Renew the lease of one job in a thread; `on_step` receives the engine's steps and stops them."""

    def __init__(self, store: JobStore, job_id: str, worker: str, beat_s: float = BEAT_S):
        self._store, self._job_id, self._worker, self._beat_s = store, job_id, worker, beat_s
        self._progress, self._time_left = Progress(), TimeLeft()
        self._part = (0, 1)  # number of the part of a long recording, and their count
        self._is_stopped, self._is_left = False, threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_left.set()
        self._thread.join()

    def on_step(self, name: str, completed: int, total: int) -> None:
        """Record the progress; raise JobStopped if this worker no longer holds the job."""
        if self._is_stopped:
            raise JobStopped
        if name == "part":
            self._part = (completed, total)
            return
        own, (part, n_parts) = measure_progress(name, completed, total), self._part
        self._progress = Progress(own.step, (part + own.share) / n_parts)

    def _beat(self) -> None:
        while not self._is_left.wait(self._beat_s):
            try:
                now = self._progress
                left_s = self._time_left.update(time.monotonic(), now.share)
                self._is_stopped = not self._store.renew(self._job_id, self._worker, now.step, now.share, left_s)
            except Exception as error:  # the database is busy or full: the lease may outlast that
                _log.warning("the lease of a job could not be renewed: %s", error)


class Worker:
    """Take one job after the other; the networks are loaded before the first and kept."""

    def __init__(
        self,
        store: JobStore,
        load: Callable[[], Analyser],
        name: str | None = None,
        fetch_media: Callable[..., FetchedMedia] = fetch,
        beat_s: float = BEAT_S,
    ):
        self.store, self.name = store, name or name_worker()
        self._load, self._fetch, self._beat_s = load, fetch_media, beat_s
        self._analyser: Analyser | None = None

    def work(self, once: bool = False, is_ended: Callable[[], bool] = lambda: False) -> int:
        """Take jobs until stopped, with `once` until none waits; return the number of jobs taken."""
        n_taken, swept = 0, -SWEEP_S
        self._warm_up()
        while not is_ended():
            if time.monotonic() - swept >= SWEEP_S:
                sweep(self.store)
                swept = time.monotonic()
            job = self.store.lease(self.name)
            if job is not None:
                n_taken += 1
                self._run_job(job)
            elif once:
                break
            else:
                time.sleep(POLL_S)
        return n_taken

    def _warm_up(self) -> None:
        """Load the networks before the first job; on failure each job reports the error until it is fixed."""
        try:
            self._get_analyser()
        except EngineError as error:
            _log.warning("no job can be done yet: %s %s", error.message, error.hint)

    def _get_analyser(self) -> Analyser:
        if self._analyser is None:
            self._analyser = self._load()
        return self._analyser

    def _run_job(self, job: Job) -> None:
        """Do one job; the worker survives every error except its own termination."""
        try:
            with Heartbeat(self.store, job.id, self.name, self._beat_s) as heartbeat:
                self._answer(job, heartbeat)
        except JobStopped:
            _log.info("job %s was stopped", job.id)
        except EngineError as error:
            if isinstance(error, SeveralVideos):
                self.store.keep_items(job.id, error.items)
            self.store.fail(job.id, self.name, error)
        except Exception as error:
            self.store.fail(job.id, self.name, self._explain(error))
        except BaseException:  # the worker is terminated
            self.store.release(job.id, self.name)
            raise

    def _answer(self, job: Job, heartbeat: Heartbeat) -> None:
        clean_folder(self.store.folder(job.id))
        path, job_input = self._load_input(job, heartbeat)
        found = self._get_analyser().analyse(path, job_input.name, job.question, heartbeat.on_step, job_input.sha256)
        self.store.finish(job.id, self.name, found)

    def _load_input(self, job: Job, heartbeat: Heartbeat) -> tuple[Path, Job]:
        """Return the file, and the job with name and hash; a link is fetched first, and only once."""
        if job.url is not None and job.sha256 is None:
            self.store.check_room()
            folder = self.store.folder(job.id)
            media = self._fetch(job.url, folder, self.store.settings.fetch_limits, heartbeat.on_step, job.item)
            if not self.store.keep_input(job.id, self.name, media):
                raise JobStopped
        return self.store.input(job.id), self.store.get(job.id)

    def _explain(self, error: Exception) -> EngineError:
        if type(error).__name__ in NO_MEMORY:
            self._analyser = None  # free the memory; the networks are loaded again
            return WebCode.OUT_OF_MEMORY(
                "There is not enough memory to analyse this file.", "Cut it, or export it at 720p."
            )
        _log.error("a job failed", exc_info=error)
        return WebCode.INTERNAL_ERROR("Something went wrong inside Wayspeak.", "Try again; the log shows the cause.")
