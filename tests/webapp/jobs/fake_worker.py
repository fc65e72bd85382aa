"""A worker without networks, as a process: `python -m tests.webapp.jobs.fake_worker DATA_FOLDER`.

The first line of a file states what the worker does with it.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from engine.errors import Code
from engine.settings import Settings
from engine.types import OnStep
from tests.webapp.jobs.samples import ANY_DISK, make_result
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.store import JobStore
from webapp.jobs.worker import Worker

STEP_S = 0.02


class FakeAnalyser:
    """Do what the file's content states."""

    def analyse(
        self,
        path: Path,
        name: str,
        question: AnalysisRequest,
        on_step: OnStep = lambda name, completed, total: None,
        sha256: str | None = None,
    ) -> AnalysisResult:
        """`slow` takes long, `poison` ends the process, `bad` is not a video, `broken` raises an unexpected error."""
        word = path.read_bytes().split()[0].decode()
        on_step("read", 1, 1)
        if word == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "bad":
            raise Code.UNREADABLE_VIDEO("It is a text.", "Choose a video.")
        if word == "broken":
            raise RuntimeError("a secret detail")
        if word == "large":
            raise MemoryError
        for completed in range(10_000 if word == "slow" else 3):
            time.sleep(STEP_S if word == "slow" else 0.0)
            on_step("faces", completed, 10_000)
        made = make_result(name)
        return replace(made, analysis=replace(made.analysis, recipe=f"by {os.getpid()}"))


def main() -> None:
    """Work until terminated."""
    reader = argparse.ArgumentParser()
    reader.add_argument("data_dir", type=Path)
    reader.add_argument("--parent", type=int, default=0)
    arguments = reader.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings(arguments.data_dir, queue=ANY_DISK)
    worker = Worker(JobStore.open(settings), FakeAnalyser, beat_s=0.1)
    worker.work(is_ended=(lambda: os.getppid() != arguments.parent) if arguments.parent else lambda: False)


if __name__ == "__main__":
    main()
