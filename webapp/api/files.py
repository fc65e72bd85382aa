"""The files of a job for the browser: served to the owner only, and never as executable content."""

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from engine.errors import EngineError
from engine.media.containers import identify_container
from webapp.accounts.middleware import find_user
from webapp.bundle.bundle import make_bundle, to_windows_csv
from webapp.bundle.contents import collect_contents
from webapp.bundle.report_html import POLICY, render_report
from webapp.context import AppContext
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.records import Job

VIDEO_TYPES = {
    "mov": "video/mp4", "matroska": "video/webm", "avi": "video/x-msvideo", "mpeg": "video/mpeg",
    "mpegts": "video/mp2t",
}  # fmt: skip
"""Media types by the container of the file; none of them can be rendered as a page. WebM is a kind of Matroska, and
browsers play the other kinds only under its name."""
CLOSED = "default-src 'none'; sandbox"
NEVER_KEPT = {"Cache-Control": "private, no-store", "Content-Security-Policy": CLOSED}


def make_router(context: AppContext) -> APIRouter:
    """Return the routes under /files."""
    router = APIRouter(prefix="/files", include_in_schema=False)

    @router.get("/{job_id}/{name}")
    def send_file(job_id: str, name: str, request: Request) -> Response:
        return send(context, context.find_job(find_user(request), job_id), name)

    @router.get("/{job_id}/faces/{face}.png")
    def send_face(job_id: str, face: int, request: Request) -> Response:
        job = context.find_job(find_user(request), job_id)
        return _send(context.jobs.folder(job.id) / folders.FACES / f"{face}.png", "image/png", f"face-{face + 1}.png")

    return router


def send(context: AppContext, job: Job, name: str) -> Response:
    """Return one file of a job; raise JOB_NOT_DONE if it does not exist, or not yet."""
    folder = context.jobs.folder(job.id)
    if name == "input":
        path = context.jobs.input(job.id)
        return _send(path, _find_type(path), "input")
    if name in (folders.RESULT, folders.SPEAKERS, folders.PHONEMES):
        return _send(folder / name, "application/json", name, as_attachment=True)
    if name in MADE:
        return MADE[name](context, job)
    raise _missing(name)


def _find_type(path: Path) -> str:
    """Return the media type of an uploaded file by its bytes, since its name may be anything."""
    try:
        return VIDEO_TYPES[identify_container(path)]
    except (EngineError, OSError):
        return "application/octet-stream"


def _send(path: Path, kind: str, name: str, as_attachment: bool = False) -> Response:
    if not path.is_file():
        raise _missing(name)
    disposition = "attachment" if as_attachment else "inline"
    return FileResponse(
        path, media_type=kind, filename=name, content_disposition_type=disposition, headers=dict(NEVER_KEPT)
    )


def _make_windows(context: AppContext, job: Job) -> Response:
    text = to_windows_csv(context.jobs.read_result(job.id).analysis)
    return _attach(text.encode(), "text/csv; charset=utf-8", f"wayspeak-{job.id[:12]}.csv")


def _make_report(context: AppContext, job: Job) -> Response:
    html = render_report(collect_contents(context.jobs, job.id))
    headers = {**NEVER_KEPT, "Content-Security-Policy": f"{POLICY}; sandbox allow-modals"}  # printing is a modal
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)


def _make_bundle(context: AppContext, job: Job) -> Response:
    archive = make_bundle(collect_contents(context.jobs, job.id), context.key)
    return _attach(archive, "application/zip", f"wayspeak-{job.id[:12]}.zip")


def _attach(content: bytes, kind: str, name: str) -> Response:
    headers = {**NEVER_KEPT, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)


def _missing(name: str) -> EngineError:
    return WebCode.JOB_NOT_DONE(
        f"The job has no file {name[:80]}, or not yet.", "Wait until it is done, or reload the page."
    )


MADE: dict[str, Callable[[AppContext, Job], Response]] = {
    "windows.csv": _make_windows,
    "report.html": _make_report,
    "bundle.zip": _make_bundle,
}
