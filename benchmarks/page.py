"""How soon the page is there, how soon it answers while a job runs, and what fifty people who look at it need.

`python -m benchmarks.page`: the real server as a process of its own, with one worker, on a data folder of its own. An
event is a trivial one as the browser sends it: into Gradio's queue, its answer from the stream of the session. Beside
it the health of the server and the list of jobs of the API. Aims: first page below 10 s (warm: the second start), 95
of 100 events below 300 ms while a job runs, fifty idle sessions below 1 GB.
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

from benchmarks.common import describe_machine, loop_file, write_portrait
from benchmarks.speed import compare
from engine.settings import QueueLimits, Settings
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.records import JobState, NewJob
from webapp.jobs.store import JobStore

TARGET_START_S, TARGET_EVENT_S, TARGET_GB = 10.0, 0.3, 1.0
EVENT = "name_collector"  # asks nothing, gives the name of who is logged in
PAUSE_S = 0.1  # between events, as of several people who click
READY_S = 120.0
API = "/gradio_api"


@dataclass(frozen=True, slots=True)
class Page:
    """A server that runs, and a client of it."""

    process: psutil.Process
    client: httpx.Client
    started_s: float  # until the first page was read
    started_cpu_s: float  # of its processor time, which a busy machine changes less

    def read_config(self) -> dict[str, Any]:
        """What the page is made of."""
        found: dict[str, Any] = self.client.get("/config").json()
        return found


@contextmanager
def run_page(folder: Path, workers: int) -> Iterator[Page]:
    """Serve from this data folder."""
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
    """Put an event into the queue and read the session's stream until it is done."""
    event = {"data": data, "fn_index": dependency, "session_hash": session, "trigger_id": None, "event_data": None}
    page.client.post(f"{API}/queue/join", json=event).raise_for_status()
    with page.client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and json.loads(line[5:])["msg"] == "process_completed":
                if not json.loads(line[5:])["success"]:
                    raise RuntimeError(f"event {dependency} failed: {line[:300]}")
                return


def time_events(page: Page, number: int, still: Callable[[], bool] = lambda: True) -> dict[str, np.ndarray]:
    """Seconds of each of so many events and requests, as long as `still` holds."""
    dependency = next(one["id"] for one in page.read_config()["dependencies"] if one["api_name"] == EVENT)
    session = uuid.uuid4().hex
    ways: dict[str, Callable[[], object]] = {
        "event of the page": lambda: send_event(page, session, dependency, []),
        "GET /api/v1/jobs": lambda: page.client.get("/api/v1/jobs").raise_for_status(),
        "GET /healthz": lambda: page.client.get("/healthz").raise_for_status(),
    }
    for way in ways.values():
        way()  # the first reads files
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(number):
        if not still():
            break
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return {name: np.array(own) for name, own in taken.items()}


def print_times(what: str, taken: dict[str, np.ndarray]) -> None:
    """A row each."""
    for name, own in taken.items():
        p50, p95, most = (1000 * value for value in (*np.quantile(own, [0.5, 0.95]), own.max()))
        print(f"| {what} | {name} | {len(own)} | {p50:.0f} | {p95:.0f} | {most:.0f} |", flush=True)


def time_events_beside_job(page: Page, folder: Path, number: int, seconds: float) -> dict[str, np.ndarray]:
    """The same while the worker analyses a video."""
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
    """Open the page so many times: everything it loads, then a stream that stays open, as in a browser."""
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
    """Gigabytes that the server holds for itself, its workers not counted."""
    return float(page.process.memory_info().rss) / 2**30


def main(
    events: Annotated[int, typer.Option(min=20, help="Of each kind, quiet and beside a job.")] = 100,
    sessions: Annotated[int, typer.Option(min=1, help="That look and do nothing.")] = 50,
    seconds: Annotated[float, typer.Option(help="Length of the job's video.")] = 300.0,
) -> None:
    """Measure one after the other."""
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
            busy = time_events_beside_job(page, folder, events, seconds)
            print_times("a job runs", busy)
            compare("95 of 100 events beside a job, s", np.quantile(busy["event of the page"], 0.95), TARGET_EVENT_S)
            before = measure_memory(page)
            with keep_sessions(page, sessions):
                print(f"the server before: {before:.2f} GB")
                compare(f"the server with {sessions} idle sessions, GB", measure_memory(page), TARGET_GB)
    print(describe_machine())


if __name__ == "__main__":
    typer.run(main)
