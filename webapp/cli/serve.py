"""`wayspeak serve` and `work`: the server with its workers, and a single worker."""

import logging
import os
import signal
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from typing import Annotated

import typer

from engine.errors import EngineError
from engine.settings import MAX_WORKERS, Settings, share_cores
from webapp.cli.workers import WorkersOption, read_settings

HOST = "127.0.0.1"
PORT = 7860
WORKERS = 1
HOURLY = 10  # jobs per account and hour
NICE = 5  # niceness of workers, so that the page stays responsive


def serve(
    host: Annotated[str, typer.Option(envvar="WAYSPEAK_HOST", help="Address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(envvar="WAYSPEAK_PORT", min=1, max=65535, help="Port to listen on.")] = PORT,
    workers: Annotated[
        int,
        typer.Option(
            envvar="WAYSPEAK_WORKERS",
            min=0,
            max=MAX_WORKERS,
            help="Worker processes, which share the cores; 0: started separately by `wayspeak work`.",
        ),
    ] = WORKERS,
) -> None:
    """Serve the page and the API until interrupted; pending uploads are deleted at the end, jobs stay."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # deletes the uploads on SIGTERM too
    with tempfile.TemporaryDirectory(prefix="wayspeak-uploads-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)  # readable by this user only
        run_server(Settings.from_env(), host, port, workers)


def work(
    once: Annotated[bool, typer.Option("--once", help="Exit when the queue is empty.")] = False,
    workers: WorkersOption = None,
    parent: Annotated[int, typer.Option(hidden=True, help="Exit when this parent process has ended.")] = 0,
) -> None:
    """Run jobs from the queue until interrupted; any number of workers may run.

    If a worker is killed, another one takes over its job within 30 seconds.
    """
    from webapp.analysis.analyser import Analyser
    from webapp.jobs.store import JobStore
    from webapp.jobs.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # returns the job to the queue
    if parent:
        os.nice(NICE)
    settings = read_settings(workers)
    worker = Worker(JobStore.open(settings), lambda: Analyser.load(settings))
    is_orphan = (lambda: os.getppid() != parent) if parent else (lambda: False)
    try:
        n_jobs = worker.work(once, is_orphan)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if once:
        typer.echo(f"{n_jobs} jobs taken.")


def run_server(settings: Settings, host: str, port: int, n_workers: int) -> None:
    """Serve until interrupted; exit with a message if the server cannot start."""
    from webapp import server
    from webapp.context import AppContext
    from webapp.jobs.supervisor import COMMAND, Supervisor
    from webapp.pages.app import build_app

    try:
        settings = limit_jobs(settings, host)
        command = (*COMMAND, "--workers", str(share_cores(max(1, n_workers))))
        with closing(AppContext.open(settings)) as context, Supervisor(context.jobs, n_workers, command):
            print(f"Wayspeak is at http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
            server.serve(build_app(context), context, host, port)
    except KeyboardInterrupt:  # the server has shut down
        return
    except EngineError as error:
        sys.exit(f"Wayspeak cannot start: {error.message} {error.hint}")
    except OSError as error:
        sys.exit(
            f"Wayspeak cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose another port: wayspeak serve --port 7861"
        )


def limit_jobs(settings: Settings, host: str) -> Settings:
    """Limit the jobs per account and hour if accounts exist; a local installation has no limit.

    Raises PUBLIC_WITHOUT_ACCOUNTS for a public address without accounts.
    """
    from webapp.accounts.hosts import HostPolicy
    from webapp.accounts.store import AccountStore

    accounts = AccountStore.open(settings)
    try:
        has_accounts = HostPolicy.from_env(host, bool(accounts.accounts())).has_accounts
    finally:
        accounts.close()
    if not has_accounts or settings.queue.max_hourly is not None:
        return settings
    return replace(settings, queue=replace(settings.queue, max_hourly=HOURLY))
