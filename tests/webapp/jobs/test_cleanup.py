"""Erased speakers disappear from job results, to the last byte; other results and clips stay."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.settings import Settings
from gallery_db.gallery import Gallery
from tests.gallery_db.planted import make_consent, make_samples
from tests.webapp.jobs.samples import hash_bytes, make_result, make_search, make_settings, submit, write_file
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.cli.main import main
from webapp.gallery import JOBS, open_gallery
from webapp.jobs import files as folders
from webapp.jobs.cleanup import STRAY_S, sweep
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.store import JobStore

NAME, OTHER = "Adelheid Marquardt", "Benedikt Oyelaran"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    store = JobStore.open(settings)
    yield store
    store.close()


@pytest.fixture
def gallery(settings: Settings) -> Iterator[Gallery]:
    """Enrol two speakers; clips of the first can be submitted as well."""
    with open_gallery(settings) as gallery:
        own = [replace(one, source_hash=hash_bytes(f"clip {one.source_name}".encode())) for one in make_samples(1)]
        gallery.enrol(NAME, own, make_consent())
        gallery.enrol(OTHER, make_samples(2), make_consent())
        yield gallery


def do(
    store: JobStore, folder: Path, content: bytes, found: AnalysisResult, question: AnalysisRequest | None = None
) -> Job:
    path = write_file(folder, content=content)
    job = store.enqueue(NewJob("eve", "clip.mp4", question or AnalysisRequest(), path))
    assert store.lease("w1") is not None and store.finish(job.id, "w1", found)
    return job


def find_bytes(folder: Path, *wanted: bytes) -> set[str]:
    """Return the files that contain any of these bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    return {str(path.relative_to(folder)) for path in files if any(one in path.read_bytes() for one in wanted)}


def analyse(*people: tuple[int, str]) -> AnalysisResult:
    return replace(make_result(), searches=(make_search(*people), make_search()), verifications=None)


def test_erasure_removes_search_results_naming_the_speaker(
    settings: Settings, store: JobStore, gallery: Gallery, tmp_path: Path
) -> None:
    both = do(store, tmp_path, b"a stranger's clip", analyse((1, NAME), (2, OTHER)), AnalysisRequest(reason="case 12"))
    other = do(store, tmp_path, b"another clip", analyse((2, OTHER)), AnalysisRequest(reason="case 13"))
    assert f"jobs/{both.id}/speakers.json" in find_bytes(settings.data_dir, NAME.encode())
    receipt = gallery.forget(NAME)
    assert receipt.removed[JOBS] == 4 and receipt.is_erased
    assert find_bytes(settings.data_dir, NAME.encode(), NAME.casefold().encode()) == set()
    found = store.read_result(both.id)
    assert found.speakers_error == folders.FORGOTTEN and found.faces == () and found.analysis.status == "EVALUATED"
    kept = store.read_result(other.id)
    assert kept.searches is not None and kept.searches[0].candidates[0].name == OTHER and len(kept.faces) == 2
    assert store.input(both.id).read_bytes() == b"a stranger's clip"


def test_erasure_removes_features_of_the_speakers_clips(
    settings: Settings, store: JobStore, gallery: Gallery, tmp_path: Path
) -> None:
    name = gallery.samples(NAME)[0].source_name
    job = do(store, tmp_path, f"clip {name}".encode(), analyse())
    made = make_result().faces[0]
    traces = (made.embedding.vector.tobytes(), made.thumbnail.tobytes()[:600])
    assert find_bytes(settings.data_dir, *traces) == {f"jobs/{job.id}/embeddings.safetensors"}
    gallery.forget(NAME)
    assert find_bytes(settings.data_dir, *traces) == set()
    assert not (store.folder(job.id) / "faces").exists() and store.read_result(job.id).faces == ()


def test_erasure_removes_requested_name_in_any_spelling(
    settings: Settings, store: JobStore, gallery: Gallery, tmp_path: Path
) -> None:
    asked = AnalysisRequest(speaker=NAME.upper())
    done = do(store, tmp_path, b"one", make_result(), asked)
    waits = store.enqueue(NewJob("eve", "clip.mp4", asked, write_file(tmp_path)))
    gallery.forget(NAME)
    assert find_bytes(settings.data_dir, NAME.upper().encode()) == set()
    assert store.get(done.id).question.speaker is None and store.get(waits.id).question.speaker is None


def test_erasure_of_lapsed_clips_removes_their_results(store: JobStore, gallery: Gallery, tmp_path: Path) -> None:
    gallery.enrol(OTHER, make_samples(2, 3)[2:], make_consent(10))
    job = do(store, tmp_path, b"a clip", analyse((2, OTHER)))
    assert len(gallery.forget_overdue(datetime.now(UTC) + timedelta(days=20))) == 1
    assert store.read_result(job.id).speakers_error == folders.FORGOTTEN
    assert gallery.speaker(OTHER).n_samples == 2


def test_erasure_discards_result_in_progress(store: JobStore, gallery: Gallery, tmp_path: Path) -> None:
    asking, plain = (
        store.enqueue(NewJob(owner, "clip.mp4", question, write_file(tmp_path)))
        for owner, question in (("eve", AnalysisRequest(reason="case 12")), ("fay", AnalysisRequest()))
    )
    for worker in ("w1", "w2"):
        assert store.lease(worker) is not None
    gallery.forget(NAME)
    assert not store.renew(asking.id, "w1") and not store.finish(asking.id, "w1", analyse((1, NAME)))
    assert (store.get(asking.id).state, store.get(asking.id).tries) == (JobState.QUEUED, 0)
    assert store.finish(plain.id, "w2", analyse())


def test_without_jobs_nothing_is_made(settings: Settings, gallery: Gallery) -> None:
    assert gallery.forget(NAME).removed[JOBS] == 0
    assert not (settings.data_dir / "app.sqlite").exists()


def test_the_command_line_forgets_in_jobs_too(
    settings: Settings, store: JobStore, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    do(store, tmp_path, b"a clip", analyse((1, NAME)))
    monkeypatch.setenv("WAYSPEAK_DATA", str(settings.data_dir))
    monkeypatch.setattr(sys, "argv", ["wayspeak", "forget", NAME, "--yes"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0 and f"4 {JOBS}" in capsys.readouterr().out
    assert find_bytes(settings.data_dir, NAME.encode()) == set()


def test_cleanup_without_data_does_nothing(store: JobStore) -> None:
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
    waits, runs, done, gone = (submit(store, tmp_path, f"{number}.mp4", f"owner {number}") for number in range(4))
    for job in (waits, runs, done, gone):
        assert job.state == JobState.QUEUED
    assert store.lease("w1") is not None
    store.cancel(gone.id)
    for job in (gone, runs):
        shutil.rmtree(store.folder(job.id))
    assert sweep(store) == 1
    assert {job.id for job in store.list()} == {waits.id, runs.id, done.id}


def test_what_is_half_done_goes_unless_its_job_is_open(store: JobStore, tmp_path: Path) -> None:
    done, runs = submit(store, tmp_path, "a.mp4"), submit(store, tmp_path, "b.mp4")
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
    job = submit(store, tmp_path)
    long_ago = time.time() - 30 * 86_400
    for path in (store.input(job.id), store.folder(job.id)):
        os.utime(path, (long_ago, long_ago))
    assert sweep(store) == 0 and store.input(job.id).exists()
