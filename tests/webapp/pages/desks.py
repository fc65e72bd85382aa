"""A desk with databases of its own, and jobs that are done without any network."""

from pathlib import Path

from gallery_db.gallery import Gallery
from tests.webapp.jobs.handed import hand_in, make_examination, make_settings
from webapp.context import AppContext
from webapp.examination import Examination
from webapp.jobs.records import Job, Question
from webapp.jobs.store import JobStore

OWNER = "local"


def open_desk(folder: Path) -> AppContext:
    settings = make_settings(folder)
    return AppContext(settings, JobStore.open(settings), Gallery.open(settings))


def finish_job(
    desk: AppContext,
    folder: Path,
    name: str = "clip.mp4",
    question: Question = Question(),  # noqa: B008 - frozen
    found: Examination | None = None,
    owner: str = OWNER,
    batch: str | None = None,
) -> Job:
    """Hand a job in and let a worker have done it."""
    job = hand_in(desk.jobs, folder, name, owner, question=question, batch=batch)
    taken = desk.jobs.lease("worker")
    assert taken is not None and taken.id == job.id
    assert desk.jobs.finish(job.id, "worker", found or make_examination(name))
    return desk.jobs.get(job.id)
