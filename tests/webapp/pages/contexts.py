"""An app context with its own databases, and jobs finished without networks."""

from pathlib import Path

from gallery_db.gallery import Gallery
from tests.webapp.jobs.samples import make_result, make_settings, submit
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest
from webapp.context import AppContext
from webapp.jobs.records import Job
from webapp.jobs.store import JobStore

OWNER = "local"


def open_context(folder: Path) -> AppContext:
    settings = make_settings(folder)
    return AppContext(settings, JobStore.open(settings), Gallery.open(settings))


def finish_job(
    context: AppContext,
    folder: Path,
    name: str = "clip.mp4",
    question: AnalysisRequest = AnalysisRequest(),  # noqa: B008 - frozen
    found: AnalysisResult | None = None,
    owner: str = OWNER,
    batch: str | None = None,
) -> Job:
    """Submit a job and store its result."""
    job = submit(context.jobs, folder, name, owner, question=question, batch=batch)
    taken = context.jobs.lease("worker")
    assert taken is not None and taken.id == job.id
    assert context.jobs.finish(job.id, "worker", found or make_result(name))
    return context.jobs.get(job.id)
