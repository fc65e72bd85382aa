"""The tables of the jobs."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from gallery_db.schema import UtcTime
from webapp.database import Base


class JobRow(Base):
    """One job; `records.Job` says what its columns mean."""

    __tablename__ = "job"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(primary_key=True)  # rises with time; never handed out twice
    id: Mapped[str] = mapped_column(String(32), unique=True)
    owner: Mapped[str] = mapped_column(String(200), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    name: Mapped[str] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    speaker: Mapped[str | None] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(8))
    batch: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    step: Mapped[str] = mapped_column(String(40))
    share: Mapped[float]
    tries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(200))  # who has the lease
    leased_until: Mapped[datetime | None] = mapped_column(UtcTime)
    error_code: Mapped[str | None] = mapped_column(String(60))
    error_message: Mapped[str | None] = mapped_column(Text)
    error_hint: Mapped[str | None] = mapped_column(Text)
    recipe: Mapped[str | None] = mapped_column(Text)


class JobSpeakerRow(Base):
    """Somebody enrolled whom a job's answer names, for the day on which they are forgotten."""

    __tablename__ = "job_speaker"

    job_number: Mapped[int] = mapped_column(ForeignKey("job.number", ondelete="CASCADE"), primary_key=True)
    speaker_id: Mapped[int] = mapped_column(primary_key=True, index=True)
