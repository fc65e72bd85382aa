"""Start-up time, latency during a job, and memory of the page.

`python -m benchmarks.page` runs the real server in a separate process with one worker and a temporary data folder. An
event is sent as by a browser: into Gradio's queue, with the answer from the stream of the session. Also measured: the
health check and the list of jobs of the API. Targets: first page within 10 s (warm: second start), 95 % of events
within 300 ms while a job runs, 50 idle sessions within 1 GB.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import psutil
import typer

from benchmarks.common import compare, describe_machine, loop_file, write_portrait
from engine.settings import QueueLimits, Settings
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.records import JobState, NewJob
from webapp.jobs.store import JobStore

TARGET_START_S, TARGET_EVENT_S, TARGET_GB = 10.0, 0.3, 1.0
EVENT = "name_collector"  # without inputs; returns the name of the user
PAUSE_S = 0.1  # between events
READY_S = 120.0
API = "/gradio_api"


@dataclass(frozen=True, slots=True)
class Page:
    """Running server with a client."""

    process: psutil.Process
    client: httpx.Client
    started_s: float  # until the first page
    started_cpu_s: float  # CPU time; depends less on other load

    def read_config(self) -> dict[str, Any]:
        """Return the Gradio configuration of the page."""
        found: dict[str, Any] = self.client.get("/config").json()
        return found


@contextmanager
def run_page(folder: Path, workers: int) -> Iterator[Page]:
    """Run a server on this data folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wanted = {"WAYSPEAK_DATA": str(folder), "WAYSPEAK_PORT": str(port), "WAYSPEAK_WORKERS": str(workers)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "webapp"], env=os.environ | wanted, stdout=subprocess.DEVNULL)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=READY_S, limits=limits) as client:
        try:
            _wait_for_page(client)
            took, server = time.perf_counter() - began, psutil.Process(process.pid)
            yield Page(server, client, took, sum(server.cpu_times()[:2]))
        finally:
            process.terminate()
            process.wait(READY_S)


def _wait_for_page(client: httpx.Client) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            client.get("/").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit("the page did not start")


def send_event(page: Page, session: str, dependency: int, data: list[Any]) -> None:
    """Queue an event and read the stream of the session until it is completed."""
    event = {"data": data, "fn_index": dependency, "session_hash": session, "trigger_id": None, "event_data": None}
    page.client.post(f"{API}/queue/join", json=event).raise_for_status()
    with page.client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and json.loads(line[5:])["msg"] == "process_completed":
                if not json.loads(line[5:])["success"]:
                    raise RuntimeError(f"event {dependency} failed: {line[:300]}")
                return


def time_events(page: Page, number: int, is_running: Callable[[], bool] = lambda: True) -> dict[str, np.ndarray]:
    """Return the seconds of `number` events and requests, as long as `is_running` returns true."""
    dependency = next(one["id"] for one in page.read_config()["dependencies"] if one["api_name"] == EVENT)
    session = uuid.uuid4().hex
    calls: dict[str, Callable[[], object]] = {
        "event of the page": lambda: send_event(page, session, dependency, []),
        "GET /api/v1/jobs": lambda: page.client.get("/api/v1/jobs").raise_for_status(),
        "GET /healthz": lambda: page.client.get("/healthz").raise_for_status(),
    }
    for call in calls.values():
        call()  # warm up
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(number):
        if not is_running():
            break
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return {name: np.array(own) for name, own in taken.items()}


def print_times(condition: str, taken: dict[str, np.ndarray]) -> None:
    """Print one row per kind."""
    for name, own in taken.items():
        p50, p95, most = (1000 * value for value in (*np.quantile(own, [0.5, 0.95]), own.max()))
        print(f"| {condition} | {name} | {len(own)} | {p50:.0f} | {p95:.0f} | {most:.0f} |", flush=True)


def time_events_during_job(page: Page, folder: Path, number: int, seconds: float) -> dict[str, np.ndarray]:
    """Measure events while the worker analyses a video."""
    short, long = folder / "short.mp4", folder / "long.mp4"
    write_portrait(short, 10)
    loop_file(short, long, seconds)
    settings = replace(Settings.from_env(), data_dir=folder / "data", queue=QueueLimits(min_free_bytes=0))
    store = JobStore.open(settings)
    try:
        job = store.enqueue(NewJob("local", long.name, AnalysisRequest(), long, None))
        end = time.monotonic() + READY_S
        while store.get(job.id).share < 0.05:
            if store.get(job.id).state not in (JobState.QUEUED, JobState.RUNNING) or time.monotonic() > end:
                raise SystemExit(f"the job does not run: {store.get(job.id)}")
            time.sleep(0.2)
        taken = time_events(page, number, lambda: store.get(job.id).state == JobState.RUNNING)
        store.cancel(job.id)
    finally:
        store.close()
    return taken


@contextmanager
def keep_sessions(page: Page, number: int) -> Iterator[None]:
    """Open the page `number` times with all its load events and an open stream, as a browser does."""
    streams = []
    try:
        for _ in range(number):
            page.client.get("/").raise_for_status()
            config, session = page.read_config(), uuid.uuid4().hex
            values = {one["id"]: one["props"].get("value") for one in config["components"]}
            for one in config["dependencies"]:
                if any(target[1] == "load" for target in one["targets"]):
                    send_event(page, session, one["id"], [values.get(number) for number in one["inputs"]])
            request = page.client.build_request("GET", f"{API}/heartbeat/{session}")
            streams.append(page.client.send(request, stream=True))
        yield
    finally:
        for stream in streams:
            stream.close()


def measure_memory(page: Page) -> float:
    """Return the memory of the server in GB, without its workers."""
    return float(page.process.memory_info().rss) / 2**30


def main(
    events: Annotated[int, typer.Option(min=20, help="Events of each kind, idle and during a job.")] = 100,
    sessions: Annotated[int, typer.Option(min=1, help="Idle sessions.")] = 50,
    seconds: Annotated[float, typer.Option(help="Length of the job's video.")] = 300.0,
) -> None:
    """Measure start, latency and memory."""
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_page(folder / "data", 0) as page:
            print(f"first start: {page.started_s:.1f} s, of the processor {page.started_cpu_s:.1f} s", flush=True)
        with run_page(folder / "data", 1) as page:
            compare("start to first page, warm, s", page.started_s, TARGET_START_S)
            print(f"  of the processor {page.started_cpu_s:.1f} s")
            print("| while | what | times | p50 ms | p95 ms | most ms |\n| --- | --- | --- | --- | --- | --- |")
            print_times("nothing runs", time_events(page, events))
            busy = time_events_during_job(page, folder, events, seconds)
            print_times("a job runs", busy)
            compare("95 of 100 events during a job, s", np.quantile(busy["event of the page"], 0.95), TARGET_EVENT_S)
            before = measure_memory(page)
            with keep_sessions(page, sessions):
                print(f"the server before: {before:.2f} GB")
                compare(f"the server with {sessions} idle sessions, GB", measure_memory(page), TARGET_GB)
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
