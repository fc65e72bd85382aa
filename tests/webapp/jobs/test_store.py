"""Jobs are submitted, listed, leased by one worker at a time, and finished once."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from engine.consistency.methods import Method
from engine.errors import Code, EngineError
from engine.fetch.fetch import FetchedMedia
from engine.fetch.formats import OfferedAudio
from engine.reports.json import to_json, write_json
from engine.settings import MediaLimits
from engine.types import MediaSelection
from tests.raising import raises
from tests.webapp.jobs.samples import Clock, hash_bytes, make_result, make_settings, submit, write_file
from webapp.analysis.records import AnalysisRequest
from webapp.database import AppDatabase
from webapp.errors import WebCode
from webapp.jobs.records import JobState, NewJob
from webapp.jobs.schema import JobRow
from webapp.jobs.store import JobStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    settings = make_settings(tmp_path)
    store = JobStore(AppDatabase.open(settings), settings, clock)
    yield store
    store.close()


def take(store: JobStore, worker: str = "w1") -> str:
    job = store.lease(worker)
    assert job is not None
    return job.id


def test_a_file_is_copied_under_a_name_of_ours_and_hashed(store: JobStore, tmp_path: Path) -> None:
    path = write_file(tmp_path, "my talk.mp4", b"x" * 3_000_000)
    job = store.enqueue(NewJob("ada", "my talk.mp4", AnalysisRequest(reason="case 12"), path))
    path.unlink()
    assert store.input(job.id) == tmp_path / "data" / "jobs" / job.id / "input.bin"
    assert store.input(job.id).read_bytes() == b"x" * 3_000_000
    assert (job.sha256, job.size_bytes) == (hash_bytes(b"x" * 3_000_000), 3_000_000)
    assert (job.state, job.name, job.owner, job.tries) == (JobState.QUEUED, "my talk.mp4", "ada", 0)
    assert job.question == AnalysisRequest(Method().title, "case 12") and store.get(job.id) == job
    for path in (store.folder(job.id), store.input(job.id)):
        assert path.stat().st_mode & 0o077 == 0


def test_what_can_never_be_analysed_is_refused_and_leaves_nothing(store: JobStore, tmp_path: Path) -> None:
    small = JobStore(store.database, replace(store.settings, limits=MediaLimits(max_bytes=10)))
    with raises(Code.FILE_TOO_LARGE):
        submit(small, tmp_path, "a long name.mp4")
    with raises(Code.UNREADABLE_VIDEO):
        store.enqueue(NewJob("ada", "gone.mp4", path=tmp_path / "gone.mp4"))
    assert store.list() == [] and not list(store.root.glob("*"))


@pytest.mark.parametrize("fields", [{}, {"path": Path("a"), "url": "https://example.org/"}])
def test_a_job_has_a_file_or_a_link(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="path or a URL"):
        NewJob("ada", "a", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("question", [{"reason": " "}, {"speaker": ""}, {"reason": "x" * 501}])
def test_an_empty_reason_is_none(question: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="characters"):
        AnalysisRequest(**question)


@pytest.mark.parametrize("job_id", ["", "..", "../" * 11, "a" * 31, "A" * 32, "/etc/passwd"])
def test_job_id_cannot_leave_its_folder(store: JobStore, job_id: str) -> None:
    with pytest.raises(ValueError, match="is not a job id"):
        store.folder(job_id)
    for ask in (store.get, store.cancel, store.delete, store.read_result):
        with raises(WebCode.UNKNOWN_JOB):
            ask(job_id)


def test_jobs_are_listed_by_owner_state_text_and_batch(store: JobStore, tmp_path: Path) -> None:
    first = submit(store, tmp_path, "Monday_100%.mp4")
    second = submit(store, tmp_path, "tuesday.mp4", batch="b1")
    third = submit(store, tmp_path, "monday.mp4", owner="ben")
    link = store.enqueue(NewJob("ben", "talk", url="https://example.org/watch"))
    store.cancel(second.id)

    def names(**fields: object) -> list[str]:
        return [job.name for job in store.list(**fields)]  # type: ignore[arg-type]

    assert names() == ["talk", "monday.mp4", "tuesday.mp4", "Monday_100%.mp4"]
    assert names(owner="ada") == ["tuesday.mp4", "Monday_100%.mp4"]
    assert names(states=[JobState.CANCELLED]) == ["tuesday.mp4"] and names(states=[]) == []
    assert names(text="MONDAY") == ["monday.mp4", "Monday_100%.mp4"] and names(text="_100%") == ["Monday_100%.mp4"]
    assert names(text=str(third.sha256)[:12]) == ["monday.mp4"] and names(text="example.org/w") == ["talk"]
    assert names(batch="b1") == ["tuesday.mp4"] and names(owner="eve") == []
    assert names(limit=2) == ["talk", "monday.mp4"]
    assert names(limit=2, before=third.id) == ["tuesday.mp4", "Monday_100%.mp4"] and names(before=first.id) == []
    assert store.counts() == dict.fromkeys(JobState, 0) | {JobState.QUEUED: 3, JobState.CANCELLED: 1}
    assert store.counts("ben")[JobState.QUEUED] == 2
    assert (store.count_ahead(link.id), store.count_ahead(first.id), store.count_ahead(second.id)) == (2, 0, 0)


def test_a_job_is_taken_followed_and_done(store: JobStore, tmp_path: Path, clock: Clock) -> None:
    job = submit(store, tmp_path)
    with raises(WebCode.JOB_NOT_DONE, match="QUEUED"):
        store.read_result(job.id)
    assert take(store) == job.id and store.lease("w2") is None
    assert store.renew(job.id, "w1", "faces", 0.5)
    now = store.get(job.id)
    assert (now.state, now.step, now.share, now.tries, now.started_at) == (JobState.RUNNING, "faces", 0.5, 1, clock.now)
    assert store.renew(job.id, "w1", "crops", 0.4) and store.get(job.id).share == 0.5
    made = make_result(job.name)
    clock.turn(7)
    assert store.finish(job.id, "w1", made)
    done = store.get(job.id)
    assert (done.state, done.share, done.finished_at, done.recipe) == (
        JobState.DONE,
        1.0,
        clock.now,
        made.analysis.recipe,
    )
    assert write_json(to_json(store.read_result(job.id).analysis)) == write_json(to_json(made.analysis))
    assert '"Ada"' in (store.read_speakers(job.id) or "")
    assert sorted(path.name for path in store.folder(job.id).iterdir()) == [
        "embeddings.safetensors", "faces", "input.bin", "result.json", "speakers.json", "traces.safetensors",
    ]  # fmt: skip


def test_why_a_job_failed_is_kept(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    take(store)
    assert store.fail(job.id, "w1", Code.UNREADABLE_VIDEO("It is a text.", "Choose a video."))
    failed = store.get(job.id)
    assert failed.state == JobState.FAILED and failed.error is not None
    assert (failed.error.code, failed.error.message, failed.error.hint) == (
        "UNREADABLE_VIDEO", "It is a text.", "Choose a video.",
    )  # fmt: skip
    with raises(WebCode.JOB_NOT_DONE, match="FAILED"):
        store.read_result(job.id)
    assert store.read_speakers(job.id) is None


def test_a_cancelled_job_stops_its_worker_and_keeps_no_result(store: JobStore, tmp_path: Path) -> None:
    waiting, running = submit(store, tmp_path, "a.mp4", "ada"), submit(store, tmp_path, "b.mp4", "ben")
    assert take(store) == waiting.id
    for job in (waiting, running):
        assert store.cancel(job.id).state == JobState.CANCELLED
    assert not store.renew(waiting.id, "w1") and not store.finish(waiting.id, "w1", make_result())
    assert not store.fail(waiting.id, "w1", EngineError("x")) and store.lease("w1") is None
    assert [path.name for path in store.folder(waiting.id).iterdir()] == ["input.bin"]
    assert store.get(waiting.id).error is None


def test_what_has_ended_is_not_cancelled(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    store.finish(take(store), "w1", make_result())
    assert store.cancel(job.id).state == JobState.DONE


def test_a_deleted_job_is_gone_whether_it_runs_or_not(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    take(store)
    store.delete(job.id)
    assert not store.folder(job.id).exists() and store.list() == []
    assert not store.renew(job.id, "w1") and not store.finish(job.id, "w1", make_result())
    assert not store.folder(job.id).exists()
    with raises(WebCode.UNKNOWN_JOB):
        store.get(job.id)


def test_job_of_lost_worker_is_retried_once_and_late_result_ignored(
    store: JobStore, tmp_path: Path, clock: Clock
) -> None:
    job = submit(store, tmp_path)
    take(store, "slow")
    clock.turn(29)
    assert store.lease("other") is None and store.renew(job.id, "slow")
    clock.turn(29)
    assert store.lease("other") is None
    clock.turn(2)
    again = store.lease("other")
    assert again is not None and (again.id, again.tries) == (job.id, 2) and store.lease("third") is None
    assert not store.renew(job.id, "slow") and not store.finish(job.id, "slow", make_result("slow.mp4"))
    assert store.finish(job.id, "other", make_result("other.mp4"))
    assert store.read_result(job.id).analysis.name == "other.mp4"
    assert [path.name for path in store.folder(job.id).glob(".*")] == []


def test_a_worker_that_was_only_slow_keeps_its_job(store: JobStore, tmp_path: Path, clock: Clock) -> None:
    job = submit(store, tmp_path)
    take(store)
    clock.turn(100)  # a machine that slept
    assert store.renew(job.id, "w1") and store.lease("w2") is None and store.finish(job.id, "w1", make_result())


def test_job_that_lost_two_workers_is_failed(store: JobStore, tmp_path: Path, clock: Clock) -> None:
    poison, other = submit(store, tmp_path, "a.mp4"), submit(store, tmp_path, "b.mp4")
    for worker in ("w1", "w2"):
        assert take(store, worker) == poison.id
        assert store.end_leases(worker) == 1 and store.end_leases(worker) == 1
    assert take(store, "w3") == other.id
    aside = store.get(poison.id)
    assert aside.state == JobState.SET_ASIDE and aside.error is not None and aside.error.code == "WORKER_LOST"
    assert aside.finished_at is not None and aside.error.hint and store.lease("w4") is None


def test_a_job_given_back_counts_no_try(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    for _ in range(3):
        take(store)
        assert store.release(job.id, "w1")
    assert store.get(job.id).tries == 0 and not store.release(job.id, "w1")


def test_many_jobs_of_one_owner_do_not_block_another(store: JobStore, tmp_path: Path, clock: Clock) -> None:
    for number in range(4):
        submit(store, tmp_path, f"ada{number}", "ada")
    submit(store, tmp_path, "ben0", "ben")
    submit(store, tmp_path, "cem0", "cem")
    submit(store, tmp_path, "ben1", "ben")
    order = []
    for _ in range(7):
        clock.turn(1)
        job = store.lease("w1")
        assert job is not None
        order.append(job.name)
        store.finish(job.id, "w1", make_result())
    assert order == ["ada0", "ben0", "cem0", "ada1", "ben1", "ada2", "ada3"]


def test_running_jobs_are_limited_per_owner(store: JobStore, tmp_path: Path) -> None:
    jobs = [submit(store, tmp_path, f"{number}.mp4") for number in range(3)]
    assert [take(store, f"w{number}") for number in range(2)] == [job.id for job in jobs[:2]]
    assert store.lease("w3") is None
    submit(store, tmp_path, "b.mp4", "ben")
    assert store.get(take(store, "w3")).owner == "ben"
    store.finish(jobs[0].id, "w0", make_result())
    assert take(store, "w0") == jobs[2].id


def test_the_same_file_is_asked_something_else(store: JobStore, tmp_path: Path) -> None:
    first = submit(store, tmp_path, "a.mp4")
    again = store.rerun(first.id, AnalysisRequest(speaker="Ada"))
    store.delete(first.id)
    assert (again.name, again.sha256, again.size_bytes, again.owner) == ("a.mp4", first.sha256, first.size_bytes, "ada")
    assert again.question.speaker == "Ada" and again.state == JobState.QUEUED and again.id != first.id
    assert store.input(again.id).read_bytes() == b"a.mp4"
    store.input(again.id).unlink()
    with raises(WebCode.UNKNOWN_JOB, match="no longer exists"):
        store.rerun(again.id, AnalysisRequest())


def test_a_link_is_kept_until_its_file_is_fetched(store: JobStore, tmp_path: Path) -> None:
    url = "https://example.org/watch?v=1"
    job = store.enqueue(NewJob("ada", url, url=url))
    assert (job.url, job.sha256, job.size_bytes) == (url, None, 0) and not store.input(job.id).exists()
    assert store.rerun(job.id, AnalysisRequest()).url == url
    assert take(store) == job.id
    path = write_file(store.folder(job.id), "0123.mp4", b"fetched")
    time = datetime(2026, 1, 2, tzinfo=UTC)
    media = FetchedMedia(
        path, hash_bytes(b"fetched"), 7, "A talk", 9.0, "generic", "https://cdn/x", time, "2026", ("a",),
        format_id="v+a", language="en", offered=(OfferedAudio("de", "b", "opus", "Deutsch", -10.0),),
    )  # fmt: skip
    assert store.keep_input(job.id, "w1", media)
    got = store.get(job.id)
    assert (got.name, got.sha256, got.size_bytes, got.url) == ("A talk", hash_bytes(b"fetched"), 7, url)
    assert store.input(job.id).read_bytes() == b"fetched"
    origin = json.loads((store.folder(job.id) / "origin.json").read_text("utf-8"))
    assert (origin["final_url"], origin["format_id"], origin["language"]) == ("https://cdn/x", "v+a", "en")
    assert origin["offered"] == ["de, opus, Deutsch (b)"]
    again = store.rerun(job.id, AnalysisRequest())
    assert again.url == url and again.sha256 == got.sha256 and store.input(again.id).read_bytes() == b"fetched"
    assert (store.folder(again.id) / "origin.json").exists()


def test_many_threads_never_get_the_same_job(store: JobStore, tmp_path: Path) -> None:
    ids = {submit(store, tmp_path, f"{number}.mp4", f"owner {number}").id for number in range(12)}
    taken: list[str] = []

    def work(worker: str) -> None:
        while (job := store.lease(worker)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 12 and set(taken) == ids


def test_the_store_imports_no_torch() -> None:
    code = "import sys, webapp.jobs.store; print({'torch', 'gradio', 'faiss'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_part_and_sound_of_a_job_are_kept(store: JobStore, tmp_path: Path) -> None:
    selection = MediaSelection(60.0, 75.5, 2, "FL")
    job = submit(store, tmp_path, question=AnalysisRequest(selection=selection))
    assert store.get(job.id).question.selection == selection
    again = store.rerun(job.id, replace(job.question, selection=MediaSelection(5.0)))
    assert store.get(again.id).question.selection == MediaSelection(5.0)
    assert submit(store, tmp_path, "other.mp4").question.selection == MediaSelection()


def test_jobs_of_earlier_versions_were_of_the_whole_recording(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    with store.database.write() as connection:
        connection.execute(update(JobRow).values(from_s=None))
    assert store.get(job.id).question.selection == MediaSelection()


def test_the_time_left_is_known_while_a_job_runs(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path)
    take(store)
    assert store.get(job.id).left_s is None
    assert store.renew(job.id, "w1", "faces", 0.4, 61.5) and store.get(job.id).left_s == 61.5
    assert store.finish(job.id, "w1", make_result()) and store.get(job.id).left_s is None


def test_the_language_of_a_job_is_kept_and_another_is_refused(store: JobStore, tmp_path: Path) -> None:
    job = submit(store, tmp_path, question=AnalysisRequest(language="en"))
    assert store.get(job.id).question.language == "en"
    assert submit(store, tmp_path, "other.mp4").question.language is None
    with raises(Code.LANGUAGE_UNKNOWN):
        AnalysisRequest(language="ar")
