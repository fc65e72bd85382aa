"""What nobody needs goes; what waits, runs or is being handed in stays."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webapp.jobs.samples import hand_in, make_result, make_settings
from webapp.jobs.cleanup import STRAY_S, sweep
from webapp.jobs.records import JobState
from webapp.jobs.store import JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore.open(make_settings(tmp_path))
    yield store
    store.close()


def test_nothing_there_is_nothing_to_do(store: JobStore) -> None:
    assert sweep(store) == 0


def test_folders_without_a_job_go_when_they_are_old(store: JobStore) -> None:
    old, new = store.root / ("a" * 32), store.root / ("b" * 32)
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "input.bin").write_bytes(b"x")
    an_hour_ago = time.time() - STRAY_S - 1
    os.utime(old, (an_hour_ago, an_hour_ago))
    assert sweep(store) == 1 and not old.exists() and new.exists()


def test_jobs_that_have_ended_go_with_their_folders(store: JobStore, tmp_path: Path) -> None:
    waits, runs, done, gone = (hand_in(store, tmp_path, f"{number}.mp4", f"owner {number}") for number in range(4))
    for job in (waits, runs, done, gone):
        assert job.state == JobState.QUEUED
    assert store.lease("w1") is not None
    store.cancel(gone.id)
    for job in (gone, runs):
        shutil.rmtree(store.folder(job.id))
    assert sweep(store) == 1
    assert {job.id for job in store.list()} == {waits.id, runs.id, done.id}


def test_what_is_half_done_goes_unless_its_job_is_open(store: JobStore, tmp_path: Path) -> None:
    done, runs = hand_in(store, tmp_path, "a.mp4"), hand_in(store, tmp_path, "b.mp4")
    assert [store.lease("w1"), store.lease("w1")] != [None, None]
    store.finish(done.id, "w1", make_result())
    for job in (done, runs):
        (store.folder(job.id) / ".new-xyz").mkdir()
        (store.folder(job.id) / ".new-xyz" / "result.json").write_text("{}")
        (store.folder(job.id) / ("c" * 32 + ".mp4")).write_bytes(b"half of it")
        (store.folder(job.id) / "bundle.zip").write_bytes(b"another's")
    assert sweep(store) == 0
    assert not list(store.folder(done.id).glob("[.c]*")) and len(list(store.folder(runs.id).glob("[.c]*"))) == 2
    assert store.read_result(done.id).searches and (store.folder(done.id) / "bundle.zip").exists()


def test_a_job_that_waits_for_days_keeps_its_file(store: JobStore, tmp_path: Path) -> None:
    job = hand_in(store, tmp_path)
    long_ago = time.time() - 30 * 86_400
    for path in (store.input(job.id), store.folder(job.id)):
        os.utime(path, (long_ago, long_ago))
    assert sweep(store) == 0 and store.input(job.id).exists()
