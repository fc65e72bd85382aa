"""Untrusted names are shown as text: they produce no markup, script or URL."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.requests import Request

from engine.errors import Code, EngineError
from engine.fetch.fetch import MediaDescription
from engine.types import Model
from gallery_db.records import Receipt
from tests.fakes import make_analysis
from tests.payloads import check_html
from tests.webapp.jobs.samples import START, make_search, make_sighting, make_verification
from webapp.accounts import login
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.jobs.records import Job, JobState
from webapp.views import analysis as views
from webapp.views import identification as who_views
from webapp.views import jobs as job_views
from webapp.views import speakers


def make_job(state: JobState, name: str = "a.mp4", error: JobError | None = None) -> Job:
    return Job(
        id="ab" * 16,
        owner="ada",
        state=state,
        name=name,
        url=None,
        sha256=None,
        size_bytes=1,
        question=AnalysisRequest(),
        batch=None,
        created_at=START,
        started_at=None,
        finished_at=None,
        step="",
        share=0.0,
        tries=0,
        error=error,
        recipe=None,
    )


def write_login(target: str, error: EngineError | None = None) -> str:
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/login", "headers": [], "query_string": b""}
    form = bytes(login._show_form(Request(scope), target, error).body).decode()
    start = form.index('name="form" value="')
    return form[:start] + form[form.index(">", start) :]  # without the random token


WRITERS: dict[str, Callable[[str], str]] = {
    "name of a file": lambda text: views.describe_analysis(make_analysis(name=text)),
    "error": lambda text: views.describe_error(Code.UNREADABLE_VIDEO(text, "Fetch it again.")),
    "hint": lambda text: views.describe_error(Code.UNREADABLE_VIDEO("It is empty.", text)),
    "caption": lambda text: views.show_player("files/a.mp4", text),
    "recipe": lambda text: views.describe_analysis(replace(make_analysis(), recipe=text)),
    "method that lacks something": lambda text: views.describe_methods(
        {Model.AVHUBERT_BASE: Code.UNREADABLE_VIDEO(text)}
    ),
    "job that waits": lambda text: job_views.show_progress(make_job(JobState.QUEUED, text)),
    "jobs in a list": lambda text: job_views.list_open([make_job(JobState.QUEUED, text)]),
    "job that failed": lambda text: job_views.show_failure(
        make_job(JobState.FAILED, text, JobError("FETCH_FAILED", text, text))
    ),
    "title of a site": lambda text: job_views.describe_link(MediaDescription(text, None, text, b"", "")),
    "kind of a picture": lambda text: job_views.describe_link(MediaDescription("T", None, "E", b"x", text)),
    "name of a candidate": lambda text: who_views.describe_search(
        make_search((1, text)), make_sighting(), lambda _: (), lambda _: None
    ),
    "name of a clip to play": lambda text: views.list_players([("files/a/input", text)]),
    "name of a speaker": lambda text: who_views.describe_verification(make_verification(name=text), make_sighting()),
    "person": lambda text: speakers.describe_speaker(make_verification(name=text).speaker, (), START),
    "receipt": lambda text: speakers.describe_receipt(text, Receipt(text, START, {text: 1}, True, (text,))),
    "where a login leads": write_login,
    "why a login failed": lambda text: write_login("/", Code.UNREADABLE_VIDEO(text, text)),
}
# Cleaned of unprintable letters first, or not shown at all.
CHANGED = set(WRITERS) - {"name of a file", "error", "hint", "caption", "name of a clip to play"}


@pytest.mark.parametrize("writer", WRITERS)
def test_payloads_are_inert(writer: str) -> None:
    check_html(WRITERS[writer], has_payload=writer not in CHANGED)
