"""Results, errors and stops of a worker in this process, without networks."""

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import Code, EngineError, WeightsMissing
from engine.fetch.fetch import FetchedMedia
from engine.fetch.items import MediaItem, SeveralVideos
from engine.settings import FetchLimits
from engine.types import OnStep
from tests.webapp.jobs.fake_worker import FakeAnalyser
from tests.webapp.jobs.samples import hash_bytes, make_settings, write_file
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.store import JobStore
from webapp.jobs.worker import SHARES, Worker, measure_progress

URL = "https://example.org/watch"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore.open(make_settings(tmp_path))
    yield store
    store.close()


def submit(store: JobStore, folder: Path, word: str) -> Job:
    return store.enqueue(NewJob("ada", f"{word}.mp4", path=write_file(folder, content=f"{word} file".encode())))


def work(store: JobStore, load: Callable[[], FakeAnalyser] = FakeAnalyser, **named: object) -> int:
    return Worker(store, load, "w1", beat_s=0.02, **named).work(once=True)  # type: ignore[arg-type]


def test_each_job_ends_as_its_file_wants(store: JobStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ("good", "bad", "broken", "large", "good")
    jobs = [submit(store, tmp_path, word) for word in words]
    assert work(store) == 5
    ended = [store.get(job.id) for job in jobs]
    assert [job.state for job in ended] == [JobState.DONE, *[JobState.FAILED] * 3, JobState.DONE]
    codes = [job.error.code for job in ended if job.error]
    assert codes == ["UNREADABLE_VIDEO", "INTERNAL_ERROR", "OUT_OF_MEMORY"]
    assert all(job.error and "secret" not in job.error.message for job in ended[1:4]) and "secret" in caplog.text
    assert store.read_result(jobs[4].id).analysis.name == "good.mp4"


def test_hash_of_the_upload_is_passed_on(store: JobStore, tmp_path: Path) -> None:
    hashes: list[object] = []

    class Noting(FakeAnalyser):
        def analyse(self, *arguments: object, **named: object) -> AnalysisResult:
            hashes.append(arguments[4])
            return super().analyse(*arguments, **named)  # type: ignore[arg-type]

    job = submit(store, tmp_path, "good")
    assert work(store, Noting) == 1
    assert hashes == [hashlib.sha256(b"good file").hexdigest()] == [store.get(job.id).sha256]


def test_progress_is_seen_from_outside_and_a_cancelled_job_stops_soon(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path, "slow")
    thread = threading.Thread(target=work, args=(store,))
    thread.start()
    wait_for(lambda: store.get(job.id).step == "faces")
    assert SHARES["faces"][0] <= store.get(job.id).share < SHARES["faces"][1]
    store.cancel(job.id)
    thread.join(60)
    assert not thread.is_alive()  # of the 200 s that it would have taken
    assert store.get(job.id).state == JobState.CANCELLED
    assert [path.name for path in store.folder(job.id).iterdir()] == ["input.bin"]


def test_a_deleted_job_stops_and_nothing_of_it_comes_back(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path, "slow")
    thread = threading.Thread(target=work, args=(store,))
    thread.start()
    wait_for(lambda: store.get(job.id).step == "faces")
    store.delete(job.id)
    thread.join(60)
    assert not thread.is_alive() and not store.folder(job.id).exists()


def test_terminated_worker_releases_its_job(store: JobStore, tmp_path: Path) -> None:
    class Ending(FakeAnalyser):
        def analyse(self, *arguments: object, **named: object) -> None:  # type: ignore[override]
            raise SystemExit(0)

    job = submit(store, tmp_path, "good")
    with pytest.raises(SystemExit):
        work(store, Ending)
    assert (store.get(job.id).state, store.get(job.id).tries) == (JobState.QUEUED, 0)
    assert work(store) == 1 and store.get(job.id).state == JobState.DONE


def test_missing_weights_fail_each_job_until_present(store: JobStore, tmp_path: Path) -> None:
    loads = []

    def load() -> FakeAnalyser:
        loads.append(1)
        if len(loads) < 3:
            raise WeightsMissing("gone", "bring it")
        return FakeAnalyser()

    jobs = [submit(store, tmp_path, "good") for _ in range(3)]
    assert work(store, load) == 3 and len(loads) == 3
    assert [store.get(job.id).state for job in jobs] == [JobState.FAILED, JobState.DONE, JobState.DONE]
    error = store.get(jobs[0].id).error
    assert error is not None and error.code == "WEIGHTS_MISSING"


def fetch_talk(url: str, folder: Path, limits: FetchLimits, on_step: OnStep, item: int = 0) -> FetchedMedia:
    on_step("fetch", 50, 100)
    path = write_file(folder, "f" * 32 + ".mp4", b"good file")
    time = datetime(2026, 1, 2, tzinfo=UTC)
    return FetchedMedia(path, hash_bytes(b"good file"), 9, "A talk", None, "generic", url, time, "2026.8", ())


def test_a_link_is_fetched_into_the_folder_first(store: JobStore) -> None:
    job = store.enqueue(NewJob("ada", URL, url=URL))
    assert work(store, fetch_media=fetch_talk) == 1
    done = store.get(job.id)
    assert (done.state, done.name, done.sha256) == (JobState.DONE, "A talk", hash_bytes(b"good file"))
    assert store.read_result(job.id).analysis.name == "A talk"
    assert store.input(job.id).read_bytes() == b"good file"


def test_a_link_that_cannot_be_fetched_says_why(store: JobStore) -> None:
    def fail(url: str, *_: object) -> FetchedMedia:
        raise Code.SITE_UNREACHABLE("It does not answer.", "Try later.")

    job = store.enqueue(NewJob("ada", URL, url=URL))
    work(store, fetch_media=fail)
    error = store.get(job.id).error
    assert error is not None and error.code == "SITE_UNREACHABLE"


def test_of_a_link_with_several_videos_the_chosen_one_is_fetched(store: JobStore) -> None:
    items, asked = (MediaItem(1, "first", 9.0), MediaItem(2, "second", None)), []

    def choose(url: str, folder: Path, limits: FetchLimits, on_step: OnStep, item: int) -> FetchedMedia:
        asked.append(item)
        if not item:
            raise SeveralVideos("Two.", "Choose.", items)
        return fetch_talk(url, folder, limits, on_step)

    job = store.enqueue(NewJob("ada", URL, url=URL))
    work(store, fetch_media=choose)
    failed = store.get(job.id)
    assert failed.error is not None and failed.error.code == "PLAYLIST_GIVEN" and store.read_items(job.id) == items
    chosen = store.enqueue(NewJob("ada", URL, url=URL, item=2))
    assert store.rerun(chosen.id, AnalysisRequest()).item == 2
    work(store, fetch_media=choose)
    assert asked == [0, 2, 2] and store.get(chosen.id).state == JobState.DONE and store.get(chosen.id).item == 2
    assert store.read_items(chosen.id) == ()


def test_nothing_is_fetched_onto_a_full_disk(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.enqueue(NewJob("ada", URL, url=URL))
    full = type(shutil.disk_usage("/"))(100, 101, -1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    work(store, fetch_media=lambda *_: pytest.fail("it was fetched"))
    error = store.get(job.id).error
    assert error is not None and error.code == "DISK_FULL"


def test_what_was_fetched_once_is_not_fetched_again(store: JobStore) -> None:
    job = store.enqueue(NewJob("ada", URL, url=URL))
    assert store.lease("dead") is not None
    folder = store.folder(job.id)
    (folder / ("e" * 32 + ".mp4")).write_bytes(b"half of it")
    (folder / ".fetch-xy").mkdir()
    media = fetch_talk(URL, folder, FetchLimits(), lambda name, completed, total: None)
    store.keep_input(job.id, "dead", media)
    store.end_leases("dead")
    assert work(store, fetch_media=lambda *_: pytest.fail("fetched again")) == 1
    assert store.get(job.id).state == JobState.DONE
    assert {path.name for path in folder.iterdir()} >= {"input.bin", "origin.json", "result.json"}
    assert not [path for path in folder.iterdir() if path.name.startswith((".", "e" * 32))]


def test_a_database_that_is_busy_does_not_stop_the_work(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewed = threading.Event()

    def fail(*_: object) -> bool:
        renewed.set()
        raise EngineError("busy")

    def analyse(*arguments: object, **named: object) -> AnalysisResult:
        assert renewed.wait(100)
        return analyse_soon(*arguments, **named)  # type: ignore[arg-type]

    analyse_soon = FakeAnalyser.analyse
    job = submit(store, tmp_path, "good")
    monkeypatch.setattr(store, "renew", fail)
    monkeypatch.setattr(FakeAnalyser, "analyse", analyse)
    with caplog.at_level(logging.WARNING):
        assert work(store) == 1
    assert store.get(job.id).state == JobState.DONE and "could not be renewed" in caplog.text


def wait_for(is_so: Callable[[], bool], timeout_s: float = 100.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_a_bar_only_grows_through_the_steps_of_a_file() -> None:
    steps = ("fetch", "read", "speech", "faces", "lips", "crops", "score", "embed", "search")
    shares = [measure_progress(name, done, 10).share for name in steps for done in range(11)]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0
    assert measure_progress("new", 1, 0).share == 0.0 and measure_progress("faces", 30, 10).share == SHARES["faces"][1]
