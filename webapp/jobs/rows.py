"""Between the rows of the table and the records."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from webapp.analysis.records import JobError, Question
from webapp.jobs.records import Job, JobState, NewJob

MAX_NAME = 255  # characters


def read_job(row: Row[Any]) -> Job:
    """Make the record of a row."""
    error = None if row.error_code is None else JobError(row.error_code, row.error_message, row.error_hint)
    return Job(
        id=row.id,
        owner=row.owner,
        state=JobState(row.state),
        name=row.name,
        url=row.url,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        question=Question(row.method, row.reason, row.speaker, row.language),
        batch=row.batch,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        step=row.step,
        share=row.share,
        tries=row.tries,
        error=error,
        recipe=row.recipe,
    )


def enter_job(
    job_id: str, new: NewJob, url: str | None, sha256: str | None, size_bytes: int, now: datetime
) -> dict[str, Any]:
    """Make the row of a new job."""
    return {
        "id": job_id,
        "owner": new.owner,
        "state": JobState.QUEUED,
        "name": new.name[:MAX_NAME],
        "url": new.url or url,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "method": new.question.method,
        "reason": new.question.reason,
        "speaker": new.question.speaker,
        "language": new.question.language,
        "batch": new.batch,
        "created_at": now,
        "step": "",
        "share": 0.0,
        "tries": 0,
    }


def write_error(error: JobError) -> dict[str, str]:
    """Give the columns of an error."""
    return {"error_code": error.code, "error_message": error.message, "error_hint": error.hint}
