"""Jobs: submit, follow, download the results."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.responses import Response
from starlette.types import Message

from engine.errors import Code
from engine.fetch.url_policy import check_url
from webapp.accounts.records import User
from webapp.api.dependencies import Analyst, AnyUser
from webapp.api.files import send
from webapp.api.schemas import JobId, JobList, JobView, NewLink, QuestionView
from webapp.context import AppContext
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.records import Job, JobState, NewJob

FORM_ROOM = 64 * 1024  # bytes of a form in addition to the file
MAX_JSON = 64 * 1024
UPLOAD_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "question": {"type": "string", "description": "A question as JSON; without one the default."},
    },
}


def make_router(context: AppContext) -> APIRouter:
    """Return the routes under /jobs."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])
    _add_list(router, context)
    _add_changes(router, context)
    _add_results(router, context)
    return router


def _add_list(router: APIRouter, context: AppContext) -> None:
    @router.get("")
    def list_jobs(
        user: AnyUser,
        state: Annotated[list[JobState] | None, Query()] = None,
        text: Annotated[str, Query(max_length=200)] = "",
        batch: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        before: Annotated[JobId | None, Query()] = None,
    ) -> JobList:
        """List your jobs, newest first; an administrator sees the jobs of all users."""
        if before is not None:
            context.find_job(user, before)
        owner = None if user.owns("") else user.name
        found = context.jobs.list(owner, state, text, batch, limit, before)
        return JobList(
            jobs=[JobView.model_validate(one) for one in found], next=found[-1].id if len(found) == limit else None
        )

    @router.get("/{job_id}")
    def get_job(job_id: JobId, user: AnyUser) -> JobView:
        """Return the state of a job."""
        return JobView.model_validate(context.find_job(user, job_id))


def _add_changes(router: APIRouter, context: AppContext) -> None:
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": UPLOAD_SCHEMA},
            "application/json": {"schema": {"$ref": "#/components/schemas/NewLink"}},
        },
    }

    @router.post("", status_code=202, openapi_extra={"requestBody": body})
    async def create_job(request: Request, user: Analyst) -> JobView:
        """Submit a file as a form, or a link as JSON; the response comes at once, the result later."""
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return JobView.model_validate(await _take_upload(context, user, request))
        return JobView.model_validate(await _take_link(context, user, request))

    @router.post("/{job_id}/cancel")
    def cancel_job(job_id: JobId, user: Analyst) -> JobView:
        """Cancel a job that waits or runs; a finished one stays as it is."""
        return JobView.model_validate(context.jobs.cancel(context.find_job(user, job_id).id))

    @router.post("/{job_id}/rerun", status_code=202)
    def rerun_job(job_id: JobId, question: QuestionView, user: Analyst) -> JobView:
        """Analyse the same file with another request, as a new job."""
        return JobView.model_validate(context.jobs.rerun(context.find_job(user, job_id).id, question.to_request()))

    @router.delete("/{job_id}", status_code=204)
    def delete_job(job_id: JobId, user: Analyst) -> None:
        """Delete a job, its file and its results."""
        context.jobs.delete(context.find_job(user, job_id).id)


def _add_results(router: APIRouter, context: AppContext) -> None:
    def give(job_id: str, user: User, name: str) -> Response:
        job = context.find_job(user, job_id)
        if job.state is not JobState.DONE:
            raise WebCode.JOB_NOT_DONE(
                f"The job is {job.state}, so it has no result.", "Wait until it is done, or run it again."
            )
        return send(context, job, name)

    def describe(kind: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
        return {200: {"content": {kind: {"schema": schema}}, "description": "As it is kept."}}

    plain, binary = {"type": "object"}, {"type": "string", "format": "binary"}

    @router.get("/{job_id}/result", response_class=Response, responses=describe("application/json", plain))
    def get_result(job_id: JobId, user: AnyUser) -> Response:
        """Return the consistency result, byte for byte what `wayspeak analyse --json` writes."""
        return give(job_id, user, "result.json")

    @router.get("/{job_id}/origin", response_class=Response, responses=describe("application/json", plain))
    def get_origin(job_id: JobId, user: AnyUser) -> Response:
        """Return where the file of a link was fetched from: address, format, language, other audio offered."""
        path = context.jobs.folder(context.find_job(user, job_id).id) / folders.ORIGIN
        if not path.is_file():
            raise WebCode.NOT_FOUND("The file was uploaded, or is not fetched yet.", "Ask for it of a fetched link.")
        return Response(path.read_bytes(), media_type="application/json")

    @router.get("/{job_id}/speakers", response_class=Response, responses=describe("application/json", plain))
    def get_speakers(job_id: JobId, user: AnyUser) -> Response:
        """Return the speaker result, as `wayspeak identify --json` writes it; 409 if it was not requested."""
        return give(job_id, user, "speakers.json")

    @router.get("/{job_id}/windows", response_class=Response, responses=describe("text/csv", {"type": "string"}))
    def get_windows(job_id: JobId, user: AnyUser) -> Response:
        """Return the timeline of every face as CSV."""
        return give(job_id, user, "windows.csv")

    @router.get("/{job_id}/report", response_class=Response, responses=describe("text/html", {"type": "string"}))
    def get_report(job_id: JobId, user: AnyUser) -> Response:
        """Return the printable report."""
        return give(job_id, user, "report.html")

    @router.get("/{job_id}/bundle", response_class=Response, responses=describe("application/zip", binary))
    def get_bundle(job_id: JobId, user: AnyUser) -> Response:
        """Return the signed evidence bundle; `wayspeak verify-bundle` checks it."""
        return give(job_id, user, "bundle.zip")


async def _take_link(context: AppContext, user: User, request: Request) -> Job:
    body = await _limit(request, MAX_JSON).body()
    try:
        asked = NewLink.model_validate_json(body)
    except ValidationError as cause:
        raise WebCode.INVALID(_describe_errors(cause), "Send a form with a file, or JSON with a url.") from cause
    check_url(asked.url, context.settings.fetch_limits.allow_loopback)  # refused now rather than by the worker
    new = NewJob(user.name, asked.name or asked.url, asked.question.to_request(), url=asked.url, item=asked.item)
    return await run_in_threadpool(context.jobs.enqueue, new)


async def _take_upload(context: AppContext, user: User, request: Request) -> Job:
    limited = _limit(request, context.settings.limits.max_bytes + FORM_ROOM)
    async with limited.form(max_files=1, max_fields=2) as form:
        file, question = form.get("file"), form.get("question")
        if not isinstance(file, UploadFile):
            raise WebCode.INVALID("The form has no file.", "Send the video as `file`.")
        try:
            asked = QuestionView.model_validate_json(question) if isinstance(question, str) else QuestionView()
        except ValidationError as cause:
            raise WebCode.INVALID(_describe_errors(cause), "Send the question as JSON.") from cause
        return await run_in_threadpool(_enqueue, context, user, file, asked)


def _enqueue(context: AppContext, user: User, file: UploadFile, asked: QuestionView) -> Job:
    name = Path((file.filename or "").replace("\\", "/")).name or "upload"
    with _write_out(file) as path:
        return context.jobs.enqueue(NewJob(user.name, name, asked.to_request(), path))


@contextmanager
def _write_out(file: UploadFile) -> Iterator[Path]:
    """Yield a named, private copy of the upload while it is copied into the job."""
    with tempfile.NamedTemporaryFile(prefix="wayspeak-") as place:
        shutil.copyfileobj(file.file, place)
        place.flush()
        yield Path(place.name)


def _limit(request: Request, max_bytes: int) -> Request:
    """Stop reading after `max_bytes`, regardless of the Content-Length header."""
    receive, size = request.receive, 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise Code.FILE_TOO_LARGE(
                f"More than {max_bytes} bytes were sent.", "Send a smaller file, or cut it in parts."
            )
        return message

    return Request(request.scope, counted)


def _describe_errors(error: ValidationError) -> str:
    errors = json.loads(error.json(include_url=False, include_context=False, include_input=False))
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in errors[:5])[:600]
