"""Load test of workers: good and hostile files, a full queue, killed workers.

`make soak`, or `python -m benchmarks.soak [--minutes 10] [--workers 2] [--kill-s 45] [--seed 0]`. Uses real workers and
files in a temporary data folder. At the end every accepted job must have ended exactly once, with an unchanged result,
and memory must not have grown; else the exit code is 1.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from benchmarks.common import write_portrait
from engine.errors import EngineError
from engine.settings import QueueLimits, Settings
from tests import hostile
from tests.clips import Film, write_clip
from webapp.errors import WebCode
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.store import JobStore
from webapp.jobs.supervisor import Supervisor

OWNER = "soak"
POLL_S = 0.5
DRAIN_S = 300.0  # for the remaining jobs at the end
MAX_GROWTH = 1.15  # of memory, from the second third to the last
EXPECTED = {  # allowed final states by kind; a file that kills two workers is quarantined
    "good": {JobState.DONE, JobState.SET_ASIDE},
    "talk": {JobState.DONE, JobState.SET_ASIDE},
    "playlist": {JobState.FAILED, JobState.SET_ASIDE},
    "bomb": {JobState.FAILED, JobState.SET_ASIDE},
    "damaged": {JobState.DONE, JobState.FAILED, JobState.SET_ASIDE},
}


@dataclass(slots=True)
class Ledger:
    """Submitted jobs, and the first final state of each."""

    kinds: dict[str, str] = field(default_factory=dict)  # kind of file by job
    # state, time and hash of the result by job
    ends: dict[str, tuple[JobState, datetime | None, str]] = field(default_factory=dict)
    n_refused: int = 0  # by the full queue
    n_killed: int = 0
    memory_bytes: list[int] = field(default_factory=list)  # of all processes, over time


def write_files(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, Path]]:
    """Yield files endlessly, most of them hostile."""
    good = write_clip(folder / "good.mp4", Film(duration_s=2.0, size_px=(320, 240)))
    talk = folder / "talk.mp4"
    write_portrait(talk, 3.0)
    lists = [hostile.write_playlist(folder / f"{n}.mp4", kind, good, 9) for n, kind in enumerate(hostile.PLAYLISTS)]
    bomb = hostile.write_bomb(folder / "bomb.mp4")
    seeds = [path.read_bytes() for path in hostile.write_seeds(folder / "seeds")]
    plain = {"good": good, "talk": talk, "bomb": bomb}
    while True:
        kind = str(rng.choice(list(EXPECTED), p=[0.3, 0.05, 0.15, 0.05, 0.45]))
        if kind == "damaged":
            path = folder / "damaged"
            path.write_bytes(hostile.mutate(seeds[rng.integers(len(seeds))], rng))
        else:
            path = lists[rng.integers(len(lists))] if kind == "playlist" else plain[kind]
        yield kind, path


def fill(store: JobStore, files: Iterator[tuple[str, Path]], ledger: Ledger) -> None:
    """Submit jobs until the queue is full."""
    while True:
        kind, path = next(files)
        try:
            job = store.enqueue(NewJob(OWNER, f"{kind}.mp4", path=path))
        except EngineError as error:
            if error.code != WebCode.QUEUE_FULL:
                raise
            ledger.n_refused += 1
            return
        ledger.kinds[job.id] = kind


def read_end(store: JobStore, job: Job) -> tuple[JobState, datetime | None, str]:
    """Return the final state, time and hash of the result of a job."""
    result = store.folder(job.id) / "result.json"
    return job.state, job.finished_at, hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else ""


def note_ends(store: JobStore, ledger: Ledger) -> None:
    """Record the first final state of each job."""
    for job_id in set(ledger.kinds) - set(ledger.ends):
        job = store.get(job_id)
        if not job.state.is_open:
            ledger.ends[job_id] = read_end(store, job)


def measure_memory() -> int:
    """Return the resident bytes of this process and its descendants."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # has ended
            continue
    return total


def run(store: JobStore, minutes: float, workers: int, kill_s: float, ledger: Ledger, folder: Path, seed: int) -> None:
    """Keep the queue full and kill workers, then wait for the remaining jobs."""
    rng = np.random.default_rng(seed)
    files, began = write_files(folder, rng), time.monotonic()
    next_kill = began + kill_s
    with Supervisor(store, workers) as supervisor:
        while time.monotonic() - began < 60 * minutes:
            fill(store, files, ledger)
            note_ends(store, ledger)
            ledger.memory_bytes.append(measure_memory())
            if time.monotonic() >= next_kill and supervisor.pids:
                next_kill = time.monotonic() + kill_s
                psutil.Process(int(rng.choice(supervisor.pids))).kill()
                ledger.n_killed += 1
            time.sleep(POLL_S)
        end = time.monotonic() + DRAIN_S
        while len(ledger.ends) < len(ledger.kinds) and time.monotonic() < end:
            note_ends(store, ledger)
            time.sleep(POLL_S)


def summarise(store: JobStore, ledger: Ledger, minutes: float) -> list[str]:
    """Print the results; return the failures."""
    wrong = []
    lost = [job_id for job_id in ledger.kinds if job_id not in ledger.ends]
    changed = [job_id for job_id, end in ledger.ends.items() if read_end(store, store.get(job_id)) != end]
    odd = Counter(
        f"{ledger.kinds[one]} {end[0]}" for one, end in ledger.ends.items() if end[0] not in EXPECTED[ledger.kinds[one]]
    )
    third = max(1, len(ledger.memory_bytes) // 3)  # skip the first third, when workers load their networks
    first, last = (
        float(np.median(part)) for part in (ledger.memory_bytes[third : 2 * third], ledger.memory_bytes[-third:])
    )
    print(f"{len(ledger.kinds)} jobs in {minutes:g} minutes, {ledger.n_killed} workers killed")
    print(f"the queue was full {ledger.n_refused} times")
    for text, count in sorted(Counter(f"{ledger.kinds[one]}: {end[0]}" for one, end in ledger.ends.items()).items()):
        print(f"{count:7d}  {text}")
    print(f"lost {len(lost)}, ended twice {len(changed)}, ended in a wrong state {dict(odd)}")
    print(f"memory of all processes: {first / 2**30:.2f} GB in the second third, {last / 2**30:.2f} GB in the last")
    wrong += [f"{len(lost)} jobs lost"] * bool(lost) + [f"{len(changed)} ended twice"] * bool(changed)
    wrong += ["jobs ended in a wrong state"] * bool(odd)
    return wrong + ["memory grew"] * (last > MAX_GROWTH * first)


def main(
    minutes: Annotated[float, typer.Option(help="Duration of the submissions.")] = 10.0,
    workers: Annotated[int, typer.Option(help="Concurrent workers.")] = 2,
    kill_s: Annotated[float, typer.Option(help="Seconds between killed workers.")] = 45.0,
    seed: Annotated[int, typer.Option(help="Random seed of files and kills.")] = 0,
) -> None:
    with tempfile.TemporaryDirectory(prefix="wayspeak-soak-") as place:
        folder = Path(place)
        os.environ["WAYSPEAK_DATA"] = str(folder / "data")  # the workers read it
        limits = replace(QueueLimits(), max_running=workers, min_free_share=0.0, min_free_bytes=0)
        store, ledger = JobStore.open(replace(Settings.from_env(), queue=limits)), Ledger()
        (folder / "files").mkdir()
        run(store, minutes, workers, kill_s, ledger, folder / "files", seed)
        wrong = summarise(store, ledger, minutes)
        store.close()
    sys.exit("; ".join(wrong) or 0)


if __name__ == "__main__":
    typer.run(main)
