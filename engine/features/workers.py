"""Run jobs on the segments of a clip with several threads, and hand over their results in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")
Report = Callable[[bool], None]
"""Called by a job after each frame: whether it counts. Raises `JobStopped` where the result is no longer needed."""
WAITING = 2  # jobs begun or finished that may wait for an earlier one, for each worker


class JobStopped(Exception):
    """The run was cancelled, or an earlier job failed."""


def run_in_order(
    jobs: Sequence[Callable[[Report], Result]], workers: int, on_frames: Callable[[int], None]
) -> Generator[Result, None, None]:
    """Yield the results in the order of the jobs, `workers` of which run at a time.

    `on_frames(count)` is called in this thread with the number of frames completed. The error of the first job that
    failed is raised here; no thread is left behind, whatever ends the generator.
    """
    run = _Run()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="segments") as pool:
        try:
            for number, job in enumerate(jobs):
                if len(pending) == WAITING * workers:
                    yield run.wait(pending.popleft(), on_frames)
                pending.append(pool.submit(run.do, number, job))
                pending[-1].add_done_callback(lambda _: run.events.put(False))
            while pending:
                yield run.wait(pending.popleft(), on_frames)
            run.report_all(on_frames)
        finally:
            run.stop_behind(-1)
            pool.shutdown(cancel_futures=True)


class _Run:
    """What the threads of one run share."""

    def __init__(self) -> None:
        self.events: SimpleQueue[bool] = SimpleQueue()  # True: a frame that counts is complete; False: a job has ended
        self._n_done = 0
        self._lock = threading.Lock()
        self._last: float = float("inf")  # number of the last job that is needed

    def do(self, number: int, job: Callable[[Report], Result]) -> Result:
        """Run a job in this thread."""

        def report(counts: bool) -> None:
            if number > self._last:
                raise JobStopped
            if counts:
                self.events.put(True)

        try:
            report(False)
            return job(report)
        except BaseException:
            self.stop_behind(number)
            raise

    def stop_behind(self, number: int) -> None:
        """Stop the jobs with a higher number."""
        with self._lock:
            self._last = min(self._last, number)

    def wait(self, future: Future[Result], on_frames: Callable[[int], None]) -> Result:
        """Report the frames of all jobs until one has ended, and return its result."""
        while not future.done():
            self._take(on_frames)
        return future.result()

    def report_all(self, on_frames: Callable[[int], None]) -> None:
        """Report the frames that are complete."""
        while not self.events.empty():
            self._take(on_frames)

    def _take(self, on_frames: Callable[[int], None]) -> None:
        if self.events.get():
            self._n_done += 1
            on_frames(self._n_done)
