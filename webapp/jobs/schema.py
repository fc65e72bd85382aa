"""Tables of the jobs, and their conversion from and to records."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Row, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from engine.types import MediaSelection
from gallery_db.schema import UtcTime
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.database import Base
from webapp.jobs.records import Job, JobState, NewJob


class JobRow(Base):
    """One job; `records.Job` documents the columns."""

    __tablename__ = "job"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(primary_key=True)  # ascending in time; never reused
    id: Mapped[str] = mapped_column(String(32), unique=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    name: Mapped[str] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    item: Mapped[int | None]  # None: 0
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    speaker: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(8))
    from_s: Mapped[float | None]  # part and audio of the recording, see `MediaSelection`; None: its default
    to_s: Mapped[float | None]
    audio_track: Mapped[int | None]
    channel: Mapped[str | None] = mapped_column(String(8))
    batch: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    step: Mapped[str] = mapped_column(String(40))
    share: Mapped[float]
    left_s: Mapped[float | None]  # estimated time until the end
    tries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(200))  # who has the lease
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_hint: Mapped[str | None] = mapped_column(Text)
    recipe: Mapped[str | None] = mapped_column(Text)


class JobSpeakerRow(Base):
    """An enrolled speaker named in a job's result, so that erasure finds it."""

    __tablename__ = "job_speaker"

    job_number: Mapped[int] = mapped_column(ForeignKey("job.number", ondelete="CASCADE"), primary_key=True)
    speaker_id: Mapped[int] = mapped_column(primary_key=True, index=True)


MAX_NAME = 255  # characters


def read_job(row: Row[Any]) -> Job:
    """Return the record of a row."""
    error = None if row.error_code is None else JobError(row.error_code, row.error_message, row.error_hint)
    return Job(
        id=row.id,
        owner=row.owner,
        state=JobState(row.state),
        name=row.name,
        url=row.url,
        item=row.item or 0,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        question=AnalysisRequest(row.method, row.reason, row.speaker, row.language, _read_selection(row)),
        batch=row.batch,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        step=row.step,
        share=row.share,
        left_s=row.left_s,
        tries=row.tries,
        error=error,
        recipe=row.recipe,
    )


def _read_selection(row: Row[Any]) -> MediaSelection:
    return MediaSelection(row.from_s or 0.0, row.to_s, row.audio_track, row.channel)


def enter_job(
    job_id: str, new: NewJob, url: str | None, sha256: str | None, size_bytes: int, now: datetime
) -> dict[str, Any]:
    """Return the columns of a new job."""
    return {
        "id": job_id,
        "owner": new.owner,
        "state": JobState.QUEUED,
        "name": new.name[:MAX_NAME],
        "url": new.url or url,
        "item": new.item,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "method": new.question.method,
        "reason": new.question.reason,
        "speaker": new.question.speaker,
        "language": new.question.language,
        **asdict(new.question.selection),
        "batch": new.batch,
        "created_at": now,
        "step": "",
        "share": 0.0,
        "tries": 0,
    }


def write_error(error: JobError) -> dict[str, str]:
    """Return the columns of an error."""
    return {"error_code": error.code, "error_message": error.message, "error_hint": error.hint}
