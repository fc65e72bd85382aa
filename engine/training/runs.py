"""Several members trained side by side, one process each where there are cores for it."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.training.clips import TrainingClip
from engine.training.members import MemberOptions, Trainee, train_member

OnProgress = Callable[[str, int], None]
"""`on_progress(job name, steps done)`."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One member to train."""

    name: str
    clips: tuple[TrainingClip, ...]
    options: MemberOptions
    seed: int


def run_jobs(jobs: Sequence[Job], folder: Path, device: str, workers: int, on_progress: OnProgress) -> list[Trainee]:
    """Train all, in the order given; finished and half-finished ones are taken up from `folder`."""
    workers = 1 if device != "cpu" else min(workers, len(jobs))
    if workers <= 1:
        return [_train(job, folder, device, on_progress) for job in jobs]
    context = multiprocessing.get_context("spawn")
    # the manager ends first: where one job fails, the others' next report fails too, and the pool waits for nobody
    with ProcessPoolExecutor(workers, mp_context=context) as pool, context.Manager() as manager:
        progress = manager.Queue()
        threads = max(1, (os.cpu_count() or 1) // workers)
        futures = [pool.submit(_train_apart, job, folder, threads, progress) for job in jobs]
        _relay(futures, progress, on_progress)
    return [_train(job, folder, device, lambda name, step: None) for job in jobs]  # done: only loads the checkpoint


def _train_apart(job: Job, folder: Path, threads: int, progress: Any) -> None:
    torch.set_num_threads(threads)
    _train(job, folder, "cpu", lambda name, step: progress.put((name, step)))


def _train(job: Job, folder: Path, device: str, on_progress: OnProgress) -> Trainee:
    def report(step: int) -> None:
        on_progress(job.name, step)

    return train_member(job.clips, job.options, job.seed, folder / f"{job.name}.checkpoint", device, report)


def _relay(futures: Sequence[Future[None]], progress: Any, on_progress: OnProgress) -> None:
    """Hand on what the processes report until all are done; raise what the first to fail raised."""
    try:
        while True:
            done, waiting = wait(futures, timeout=0)
            for future in done:
                future.result()
            try:
                on_progress(*progress.get(timeout=0.5))
            except queue.Empty:
                if not waiting:
                    return
    finally:
        for future in futures:
            future.cancel()
