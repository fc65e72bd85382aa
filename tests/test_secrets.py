"""What must not be read in a log, an error or an answer: tokens, whole links, embeddings."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.fetch import process as fetch_job
from engine.fetch.fetch import fetch
from engine.settings import FetchLimits, Settings
from gallery_db.records import Neighbour
from gallery_db.templates import Template
from tests import clips
from tests.engine.fetch.sites import Site, drip, redirect, say
from tests.engine.fetch.test_fetch import QUICK
from tests.webapp.jobs.fake_worker import FakeAnalyser
from tests.webapp.jobs.samples import ANY_DISK, make_sighting
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.store import JobStore
from webapp.jobs.worker import Worker

TOKEN = "hunter2-3f9ac1"  # in queries, fragments and cookies
LINKS = {  # requested path, response of the site
    "a plain file": ("/a.mp4", lambda film: {"/a.mp4": say(film, "video/mp4", Set_Cookie=f"session={TOKEN}")}),
    "a page": (
        "/p",
        lambda film: {
            "/p": say(f'<title>T</title><video src="/a.mp4?key={TOKEN}"></video>'.encode()),
            "/a.mp4": say(film, "video/mp4"),
        },
    ),
    "a missing page": ("/none", lambda film: {}),
    "a page for members": ("/p", lambda film: {"/p": say(b"", status=403)}),
    "a page that is broken": ("/p", lambda film: {"/p": say(f"see /p?key={TOKEN}".encode(), status=500)}),
    "a way to a private address": ("/p", lambda film: {"/p": redirect(f"http://10.0.0.1/x?key={TOKEN}")}),
    "a circle": ("/p", lambda film: {"/p": redirect(f"/p?key={TOKEN}")}),
    "a stream without end": ("/a.mp4", lambda film: {"/a.mp4": drip(b"\0\0\0\x20ftypisom", b"x" * 90_000, 0)}),
    "no video": ("/a.mp4", lambda film: {"/a.mp4": say(TOKEN.encode(), "video/mp4")}),
}


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Everything is logged that anybody would log, and the children know the sites of the tests alone."""
    monkeypatch.setattr(fetch_job, "BOOT", QUICK)
    caplog.set_level(logging.DEBUG)
    for name in ("engine", "webapp", "asyncio", "yt_dlp"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clips.write_clip(tmp_path_factory.mktemp("film") / "a.mp4", clips.Film(duration_s=1.2)).read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    limits = FetchLimits(allow_loopback=True, max_bytes=1_000_000)
    store = JobStore.open(Settings(tmp_path / "data", queue=ANY_DISK, fetch_limits=limits))
    yield store
    store.close()


def write_link(site: Site, path: str) -> str:
    return f"http://127.0.0.1:{site.port}{path}?key={TOKEN}#{TOKEN}"


@pytest.mark.parametrize("kind", LINKS)
def test_a_token_in_a_link_is_in_no_log_and_no_error(
    site: Site,
    film: bytes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    path, answer = LINKS[kind]
    site.pages = answer(film)
    limits = FetchLimits(allow_loopback=True, max_bytes=1_000_000)
    try:
        media = fetch(write_link(site, path), tmp_path, limits)
        result = repr(media)
    except EngineError as error:
        result = f"{error.message} {error.hint} {error!r}"
    assert site.paths[0] == f"{path}?key={TOKEN}"  # it was sent to where it belongs, but for the fragment
    out, err = capfd.readouterr()
    assert "ALLOW_LOOPBACK" in caplog.text  # something was logged
    for text in (result, caplog.text, out, err):
        assert TOKEN not in text


def examine_link(store: JobStore, site: Site, path: str) -> Job:
    """Have a worker do a job of a link."""
    job = store.enqueue(NewJob("ada", "a talk", url=write_link(site, path)))
    assert Worker(store, FakeAnalyser, "w1", beat_s=0.05).work(once=True) == 1
    return store.get(job.id)


@pytest.mark.parametrize(("kind", "state"), [("a plain file", JobState.DONE), ("a missing page", JobState.FAILED)])
def test_token_of_job_link_is_stored_only_in_its_row(
    store: JobStore,
    site: Site,
    film: bytes,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    state: JobState,
) -> None:
    path, answer = LINKS[kind]
    site.pages = answer(film)
    job = examine_link(store, site, path)

    assert job.state == state and TOKEN in (job.url or "")  # without it the file could not be fetched again
    files = [path for path in store.folder(job.id).rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files)
    assert TOKEN.encode() not in kept and (state == JobState.FAILED or b"final_url" in kept)
    assert TOKEN not in (job.error.message + job.error.hint if job.error else "")
    out, err = capfd.readouterr()
    assert TOKEN not in caplog.text + out + err


def test_a_record_shows_no_embedding_where_it_is_printed() -> None:
    """Logs and tracebacks print records by `repr`."""
    sighting = make_sighting()
    vector = sighting.embedding.vector
    known = (Neighbour(7, "Ada", vector), Template(7, "fake", vector, 2, 25.5))
    for record in (sighting, *known):
        result = repr(record)
        assert "fake" in result or "Ada" in result
        assert not any(str(float(value))[:8] in result for value in vector), f"{type(record).__name__} shows its vector"
