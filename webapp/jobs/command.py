"""The typer command behind `wayspeak work`: a worker."""

import logging
import os
import signal
import sys
from typing import Annotated

import typer

from engine.settings import Settings
from webapp.examination import Examiner
from webapp.jobs.store import JobStore
from webapp.jobs.worker import Worker

NICE = 5  # beside a page, which is to answer at once whatever is being done

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def work(
    once: Annotated[bool, typer.Option("--once", help="End when no job waits any more.")] = False,
    parent: Annotated[int, typer.Option(hidden=True, help="End when this process, which started us, has.")] = 0,
) -> None:
    """Take jobs from the queue and do them, until interrupted; as many workers may run as there is room for.

    A worker that is killed loses nothing: another takes its job up within half a minute.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the job is given back
    if parent:
        os.nice(NICE)
    settings = Settings.from_env()
    worker = Worker(JobStore.open(settings), lambda: Examiner.load(settings))
    is_orphan = (lambda: os.getppid() != parent) if parent else (lambda: False)
    try:
        n_jobs = worker.work(once, is_orphan)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if once:
        typer.echo(f"{n_jobs} jobs taken.")
