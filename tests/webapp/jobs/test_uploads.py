"""Uploads over a limit are refused with their own code and leave neither a file nor a row."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.settings import QueueLimits
from tests.raising import raises
from tests.webapp.jobs.samples import ANY_DISK, Clock, make_result, make_settings, submit
from webapp.analysis.records import AnalysisRequest
from webapp.database import AppDatabase
from webapp.errors import WebCode
from webapp.jobs.records import NewJob
from webapp.jobs.store import JobStore

URL = "https://example.org/"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[AppDatabase]:
    database = AppDatabase.open(make_settings(tmp_path))
    yield database
    database.close()


def make_store(database: AppDatabase, folder: Path, clock: Clock | None = None, **limits: object) -> JobStore:
    settings = make_settings(folder, replace(ANY_DISK, **limits))  # type: ignore[arg-type]
    return JobStore(database, settings, clock or Clock())


def check_nothing_new(store: JobStore, n_jobs: int) -> None:
    assert len(store.list()) == n_jobs == len(list(store.root.glob("*")))


def test_queue_limits_apply_per_user_and_per_batch(database: AppDatabase, tmp_path: Path) -> None:
    store = make_store(database, tmp_path, max_queued=2, max_batch=3)
    for number in range(2):
        submit(store, tmp_path, f"{number}.mp4")
    with raises(WebCode.QUEUE_FULL, match="2 of your jobs are waiting") as caught:
        submit(store, tmp_path, "c.mp4")
    assert caught.value.code == "QUEUE_FULL" and caught.value.hint
    for _ in range(3):
        store.enqueue(NewJob("ada", "x", url=URL, batch="b1"))
    with raises(WebCode.QUEUE_FULL, match="3 of your jobs"):
        store.enqueue(NewJob("ada", "x", url=URL, batch="b2"))
    submit(store, tmp_path, "ben.mp4", "ben")
    check_nothing_new(store, 6)
    job = store.lease("w1")
    assert job is not None and job.batch is None
    submit(store, tmp_path, "c.mp4")


def test_hourly_limit_applies_where_set(database: AppDatabase, tmp_path: Path) -> None:
    clock = Clock()
    store = make_store(database, tmp_path, clock, max_hourly=2)
    for _ in range(2):
        submit(store, tmp_path)
        clock.turn(600)
    with raises(WebCode.QUOTA_USED, match="within an hour"):
        submit(store, tmp_path)
    with raises(WebCode.QUOTA_USED):
        store.rerun(store.list()[0].id, AnalysisRequest())
    clock.turn(3600 - 1200)
    submit(store, tmp_path)
    assert make_store(database, tmp_path).settings.queue.max_hourly is None
    check_nothing_new(store, 3)


def test_storage_limit_applies_per_user_until_deletion(database: AppDatabase, tmp_path: Path) -> None:
    store = make_store(database, tmp_path, max_bytes=20)
    first, _ = submit(store, tmp_path, "10bytes.mp"), submit(store, tmp_path, "9bytes.mp")
    with raises(WebCode.QUOTA_USED, match="MB") as caught:
        submit(store, tmp_path, "more.mp4")
    assert caught.value.code == "QUOTA_USED"
    with raises(WebCode.QUOTA_USED):
        store.rerun(first.id, AnalysisRequest())
    store.enqueue(NewJob("ada", "a link", url=URL))
    store.delete(first.id)
    submit(store, tmp_path, "more.mp4")
    check_nothing_new(store, 3)


@pytest.mark.parametrize(
    ("free", "share", "bytes_", "fits"),
    [(99, 0.1, 20, True), (19, 0.1, 20, True), (11, 0.1, 20, False), (9, 0.1, 20, False), (9, 0.1, 3, True),
     (5, 0.1, 3, False), (0, 0.0, 20, False)],
)  # fmt: skip
def test_disk_reserve_stays_free(
    database: AppDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, share: float, bytes_: int,
    fits: bool,
) -> None:  # fmt: skip
    store = make_store(database, tmp_path, min_free_share=share, min_free_bytes=bytes_)
    disk = type(shutil.disk_usage("/"))(100, 100 - free, free)  # units of a byte: a disk of 100
    monkeypatch.setattr("shutil.disk_usage", lambda path: disk)
    if fits:
        assert submit(store, tmp_path, "abc").size_bytes == 3
    else:
        with raises(WebCode.DISK_FULL) as caught:
            submit(store, tmp_path, "abc")
        assert caught.value.code == "DISK_FULL" and "free" in caught.value.message
        check_nothing_new(store, 0)


def test_the_defaults_are_those_that_were_asked_for() -> None:
    limits = QueueLimits()
    assert (limits.max_queued, limits.max_running, limits.max_hourly) == (20, 2, None)
    assert (limits.max_bytes, limits.min_free_bytes, limits.min_free_share) == (5 * 2**30, 20 * 2**30, 0.1)


FILL = """
import resource, sys
from pathlib import Path
from tests.webapp.jobs.samples import make_settings
from engine.errors import EngineError
from webapp.jobs.records import NewJob
from webapp.jobs.store import JobStore
folder = Path(sys.argv[1])
store = JobStore.open(make_settings(folder))
(folder / "large.mp4").write_bytes(b"x" * 5_000_000)
(folder / "small.mp4").write_bytes(b"x" * 1000)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    store.enqueue(NewJob("ada", "large.mp4", path=folder / "large.mp4"))
except EngineError as error:
    print(error.code, len(store.list()), len(list(store.root.glob("*"))))
print(store.enqueue(NewJob("ada", "small.mp4", path=folder / "small.mp4")).size_bytes)
print(store.database.database.find_damage())
"""


def test_disk_full_during_copy_is_reported_and_harmless(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["DISK_FULL 0 0", "1000", "[]", ""]


def test_space_taken_concurrently_is_not_reserved_twice(
    database: AppDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(database, tmp_path, max_queued=1)
    copy = store._intake.copy

    def copy_slowly(source: Path, folder: Path) -> tuple[str, int]:
        monkeypatch.setattr(store._intake, "copy", copy)
        submit(store, tmp_path, "quick.mp4")
        return copy(source, folder)

    monkeypatch.setattr(store._intake, "copy", copy_slowly)
    with raises(WebCode.QUEUE_FULL):
        submit(store, tmp_path, "slow.mp4")
    check_nothing_new(store, 1)
    assert store.finish(str(getattr(store.lease("w"), "id", "")), "w", make_result())
