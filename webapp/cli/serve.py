"""`wayspeak serve` and `work`: the page with its server and workers, and a worker alone."""

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
from engine.settings import Settings

HOST = "127.0.0.1"
PORT = 7860
WORKERS = 1
HOURLY = 10  # jobs of one account
NICE = 5  # of a worker next to a page, which is to answer at once whatever is being done


def serve(
    host: Annotated[str, typer.Option(envvar="WAYSPEAK_HOST", help="Where to listen.")] = HOST,
    port: Annotated[int, typer.Option(envvar="WAYSPEAK_PORT", min=1, max=65535, help="On which port.")] = PORT,
    workers: Annotated[
        int, typer.Option(envvar="WAYSPEAK_WORKERS", min=0, max=64, help="How many files at once; 0: `wayspeak work`.")
    ] = WORKERS,
) -> None:
    """Serve the page and the API until interrupted; uploads go when it ends, jobs stay."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that a stopped app, too, leaves no upload behind
    with tempfile.TemporaryDirectory(prefix="wayspeak-uploads-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)  # readable by this user alone
        run_server(Settings.from_env(), host, port, workers)


def work(
    once: Annotated[bool, typer.Option("--once", help="End when no job waits any more.")] = False,
    parent: Annotated[int, typer.Option(hidden=True, help="End when this process, which started us, has.")] = 0,
) -> None:
    """Take jobs from the queue and do them, until interrupted; as many workers may run as there is room for.

    A worker that is killed loses nothing: another takes its job up within half a minute.
    """
    from webapp.analysis.analyser import Analyser
    from webapp.jobs.store import JobStore
    from webapp.jobs.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the job is given back
    if parent:
        os.nice(NICE)
    settings = Settings.from_env()
    worker = Worker(JobStore.open(settings), lambda: Analyser.load(settings))
    is_orphan = (lambda: os.getppid() != parent) if parent else (lambda: False)
    try:
        n_jobs = worker.work(once, is_orphan)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if once:
        typer.echo(f"{n_jobs} jobs taken.")


def run_server(settings: Settings, host: str, port: int, n_workers: int) -> None:
    """Serve until interrupted; where that cannot be, end with what is missing and what to do."""
    from webapp import server
    from webapp.context import AppContext
    from webapp.jobs.supervisor import Supervisor
    from webapp.pages.app import build_app

    try:
        settings = limit_guests(settings, host)
        with closing(AppContext.open(settings)) as context, Supervisor(context.jobs, n_workers):
            print(f"Wayspeak is at http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
            server.serve(build_app(context), context, host, port)
    except KeyboardInterrupt:  # the server has ended what it was doing
        return
    except EngineError as error:
        sys.exit(f"Wayspeak cannot start: {error.message} {error.hint}")
    except OSError as error:
        sys.exit(
            f"Wayspeak cannot listen on {host}, port {port}: {error.strerror}. "
            "Choose another port: wayspeak serve --port 7861"
        )


def limit_guests(settings: Settings, host: str) -> Settings:
    """Where people have accounts, each may hand in so many jobs an hour; one's own machine is one's own.

    PUBLIC_WITHOUT_ACCOUNTS for an address that others reach, where nobody would have to log in.
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
