"""`wayspeak serve`: workers, job limits, errors at the start."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.settings import Settings
from tests.ports import reserve_port
from tests.webapp.jobs.test_worker import wait_for
from webapp.accounts.records import Role
from webapp.accounts.store import AccountStore
from webapp.cli.serve import HOURLY, limit_jobs, run_server


def test_hourly_limit_applies_only_with_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(tmp_path)
    assert limit_jobs(settings, "127.0.0.1") == settings
    monkeypatch.setenv("WAYSPEAK_ACCOUNTS", "1")
    assert limit_jobs(settings, "127.0.0.1").queue.max_hourly == HOURLY == 10
    own = replace(settings, queue=replace(settings.queue, max_hourly=3))
    assert limit_jobs(own, "127.0.0.1") == own


def test_an_account_that_is_there_counts(tmp_path: Path) -> None:
    accounts = AccountStore.open(Settings(tmp_path))
    accounts.add("ada", "a long enough password", Role.ANALYST)
    accounts.close()
    assert limit_jobs(Settings(tmp_path), "127.0.0.1").queue.max_hourly == HOURLY


def test_an_address_that_others_reach_is_refused_without_accounts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"cannot start.*accounts"):
        run_server(Settings(tmp_path), "0.0.0.0", 0, 0)


def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SystemExit, match=r"cannot listen on 127\.0\.0\.1, port \d+.*--port"),
    ):
        run_server(Settings(tmp_path), "127.0.0.1", taken.getsockname()[1], 0)


def test_serve_starts_worker_and_stops_both_on_signal(tmp_path: Path) -> None:
    environment = os.environ | {"WAYSPEAK_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "webapp.cli", "serve", "--workers", "1", "--port"]
    with reserve_port() as port:
        server = subprocess.Popen([*command, str(port)], env=environment, stdout=subprocess.PIPE, text=True)
        try:
            wait_for_page(port, server)
            wait_for(lambda: ["work" in one.cmdline() for one in psutil.Process(server.pid).children()] == [True])
            (worker,) = psutil.Process(server.pid).children()
            server.send_signal(signal.SIGTERM)
            assert server.wait(100) == 0 and not worker.is_running()
        finally:
            server.kill()
    assert server.stdout is not None and f"http://127.0.0.1:{port}/" in server.stdout.read()


def wait_for_page(port: int, server: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 150
    while True:
        assert server.poll() is None and time.monotonic() < end
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.2)


@pytest.mark.parametrize(("n_workers", "share"), [(0, "6"), (1, "6"), (2, "3"), (4, "1")])
def test_job_processes_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_workers: int, share: str
) -> None:
    commands: list[tuple[str, ...]] = []

    class Supervised:
        def __init__(self, store: object, count: int, command: tuple[str, ...]):
            assert count == n_workers
            commands.append(command)

        def __enter__(self) -> "Supervised":
            return self

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr("webapp.jobs.supervisor.Supervisor", Supervised)
    monkeypatch.setattr("webapp.pages.app.build_app", lambda context: None)
    monkeypatch.setattr("webapp.server.serve", lambda *arguments: None)
    run_server(Settings(tmp_path), "127.0.0.1", 7860, n_workers)
    assert commands == [(sys.executable, "-m", "webapp.cli", "work", "--workers", share)]
