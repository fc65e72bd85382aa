"""Real worker processes, killed, crashed and orphaned: no job is lost or done twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import tests
from engine.settings import Settings
from tests.clips import Film, write_clip
from tests.webapp.jobs.samples import make_settings, write_file
from tests.webapp.jobs.test_worker import submit, wait_for
from webapp.jobs.records import JobState, NewJob
from webapp.jobs.store import JobStore
from webapp.jobs.supervisor import Supervisor

ROOT = Path(tests.__file__).parents[1]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(ROOT)  # where the fake worker's module is found
    settings = make_settings(tmp_path)
    return replace(settings, queue=replace(settings.queue, max_running=9))


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    store = JobStore.open(settings)
    yield store
    store.close()


def supervise(store: JobStore, n_workers: int = 1) -> Supervisor:
    command = (sys.executable, "-m", "tests.webapp.jobs.fake_worker", str(store.settings.data_dir))
    return Supervisor(store, n_workers, command)


HAND_IN_AND_GO = """
import sys
from pathlib import Path
from tests.webapp.jobs.samples import ANY_DISK
from engine.settings import Settings
from webapp.jobs.records import NewJob
from webapp.jobs.store import JobStore
store = JobStore.open(Settings(Path(sys.argv[1]), queue=ANY_DISK))
for number in range(20):
    store.enqueue(NewJob("ada", f"{number}.mp4", path=Path(sys.argv[2])))
import os
os._exit(1)
"""


def test_twenty_jobs_of_a_disconnected_client_give_twenty_results(store: JobStore, tmp_path: Path) -> None:
    path = write_file(tmp_path, content=b"good file")
    left = subprocess.run([sys.executable, "-c", HAND_IN_AND_GO, str(store.settings.data_dir), str(path)], check=False)
    path.unlink()
    assert left.returncode == 1 and store.counts()[JobState.QUEUED] == 20
    with supervise(store, 2):
        wait_for(lambda: store.counts()[JobState.DONE] == 20)
    names = sorted(store.read_result(job.id).analysis.name for job in store.list())
    assert names == sorted(f"{number}.mp4" for number in range(20))
    assert {job.tries for job in store.list()} == {1}


def test_a_killed_worker_s_job_is_taken_up_once_by_the_next(store: JobStore, tmp_path: Path) -> None:
    job, other = submit(store, tmp_path, "slow"), submit(store, tmp_path, "good")
    with supervise(store) as supervisor:
        wait_for(lambda: store.get(job.id).step == "faces")
        (killed,) = supervisor.pids
        store.input(job.id).write_bytes(b"good file")  # so that the second try ends soon
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: store.counts()[JobState.DONE] == 2)
    done = store.get(job.id)
    assert (done.tries, store.get(other.id).tries) == (2, 1) and done.recipe != f"by {killed}"
    assert not list(store.folder(job.id).glob(".*"))


def test_file_that_kills_workers_is_failed_without_blocking_others(store: JobStore, tmp_path: Path) -> None:
    poison, others = submit(store, tmp_path, "poison"), [submit(store, tmp_path, "good") for _ in range(3)]
    with supervise(store, 2):
        wait_for(lambda: all(store.get(job.id).state == JobState.DONE for job in others))
        wait_for(lambda: store.get(poison.id).state == JobState.SET_ASIDE)
        (tmp_path / "after").mkdir()
        after = submit(store, tmp_path / "after", "good")
        wait_for(lambda: store.get(after.id).state == JobState.DONE)
    error = store.get(poison.id).error
    assert store.get(poison.id).tries == 2 and error is not None and error.code == "WORKER_LOST"


def test_terminated_workers_release_their_jobs(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path, "slow")
    with supervise(store) as supervisor:
        wait_for(lambda: store.get(job.id).step == "faces")
        (pid,) = supervisor.pids
    assert (store.get(job.id).state, store.get(job.id).tries) == (JobState.QUEUED, 0)
    assert not psutil.pid_exists(pid)


def test_workers_end_when_who_started_them_is_killed(store: JobStore) -> None:
    code = (
        "import sys, time, pathlib; from tests.webapp.jobs.test_supervisor import supervise\n"
        "from tests.webapp.jobs.samples import ANY_DISK; from engine.settings import Settings\n"
        "from webapp.jobs.store import JobStore\n"
        "store = JobStore.open(Settings(pathlib.Path(sys.argv[1]), queue=ANY_DISK))\n"
        "with supervise(store) as supervisor:\n"
        "    while not supervisor.pids: time.sleep(0.05)\n"
        "    print(supervisor.pids[0], flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(store.settings.data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    worker.wait(100)


def test_the_real_worker_does_a_real_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with_any_disk = make_settings(tmp_path)
    store = JobStore.open(with_any_disk)
    job = store.enqueue(NewJob("ada", "talk.mp4", path=write_clip(tmp_path / "talk.mp4", Film(duration_s=1.2))))
    bad = store.enqueue(NewJob("ada", "bad.mp4", path=write_file(tmp_path, "bad.mp4")))
    command = [sys.executable, "-m", "webapp.cli", "work", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "2 jobs taken.\n"
    found = store.read_result(job.id)
    assert (found.analysis.name, found.analysis.sha256) == ("talk.mp4", job.sha256)
    assert found.analysis.recipe == store.get(job.id).recipe
    error = store.get(bad.id).error
    assert error is not None and error.code == "UNREADABLE_VIDEO"
    store.close()
