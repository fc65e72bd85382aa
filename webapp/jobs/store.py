"""Table of jobs and their folders; submitted files stay until they are deleted.

A worker holds a job by a lease that it renews. Its updates count only while it holds the lease, so a worker that was
slow, stopped or declared lost never adds a second result. Imports no torch.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from engine.errors import EngineError
from engine.fetch.fetch import FetchedMedia
from engine.fetch.items import MediaItem
from engine.settings import Settings
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.database import AppDatabase
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.leases import LEASE, NO_LEASE, choose_next, is_something_due, requeue_lost
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.schema import JobRow, JobSpeakerRow, enter_job, read_job, write_error
from webapp.jobs.uploads import UploadStore

FOLDER = "jobs"
OPEN = [str(state) for state in JobState if state.is_open]


def _now() -> datetime:
    return datetime.now(UTC)


class JobStore:
    """All jobs; threads may share one store, other processes may open the same table."""

    def __init__(self, database: AppDatabase, settings: Settings, clock: Callable[[], datetime] = _now):
        self.database, self.settings, self._clock = database, settings, clock
        self.root = settings.data_dir / FOLDER
        self._intake = UploadStore(settings)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the app's database; raise APP_DATABASE_ERROR or FolderUnwritable on failure."""
        return cls(AppDatabase.open(settings), settings)

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()

    # users

    def enqueue(self, new: NewJob) -> Job:
        """Submit a job: copy and hash its file before any decoder reads it.

        Raise UNREADABLE_VIDEO or FILE_TOO_LARGE for the file, QUEUE_FULL, QUOTA_USED or DISK_FULL; then nothing is
        kept.
        """
        size = self._intake.measure(new.path)
        with self.database.read() as connection:  # refuse before a large file is copied
            self._intake.admit(connection, new.owner, new.batch, size, self._clock())
        self._intake.check_room(size)
        return self._add(new, lambda folder: self._intake.copy(new.path, folder) if new.path else (None, 0))

    def rerun(self, job_id: str, question: AnalysisRequest) -> Job:
        """Submit a new job with another request on the stored file of a job."""
        old, source = self.get(job_id), self.input(job_id)
        if old.sha256 is not None and not source.exists():
            raise WebCode.UNKNOWN_JOB("The file of this job no longer exists.", "Submit it again.")
        path, url = (source, None) if old.sha256 else (None, old.url)
        new = NewJob(old.owner, old.name, question, path, url, item=old.item)
        with self.database.read() as connection:
            self._intake.admit(connection, new.owner, None, old.size_bytes, self._clock())
        self._intake.check_room()
        return self._add(new, lambda folder: self._share(old, folder), old.url)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that waits or runs; its worker notices at the next step. A finished one stays as it is."""
        with self.database.write() as connection:
            self._expect(connection, job_id)
            values = {"state": JobState.CANCELLED, "finished_at": self._clock(), **NO_LEASE}
            connection.execute(update(JobRow).where(JobRow.id == job_id, JobRow.state.in_(OPEN)).values(values))
            return read_job(self._expect(connection, job_id))

    def delete(self, job_id: str) -> None:
        """Delete a job with its file and results, and stop it if it runs; raise UNKNOWN_JOB if there is none."""
        with self.database.write() as connection:
            self._expect(connection, job_id)
            connection.execute(delete(JobRow).where(JobRow.id == job_id))
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    # queries

    def get(self, job_id: str) -> Job:
        """Return a job; raise UNKNOWN_JOB if there is none."""
        with self.database.read() as connection:
            return read_job(self._expect(connection, job_id))

    def list(
        self,
        owner: str | None = None,
        states: Collection[JobState] | None = None,
        text: str = "",
        batch: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Job]:
        """List jobs, newest first: of an owner, in these states, with this text in name, link or hash.

        `before` is the last job of the previous page; raise UNKNOWN_JOB if it was deleted.
        """
        query = select(JobRow.__table__).order_by(JobRow.number.desc()).limit(limit)
        if owner is not None:
            query = query.where(JobRow.owner == owner)
        if states is not None:
            query = query.where(JobRow.state.in_([str(state) for state in states]))
        if batch is not None:
            query = query.where(JobRow.batch == batch)
        if text.strip():
            fields = (JobRow.name, JobRow.url, JobRow.sha256)
            query = query.where(or_(*(field.icontains(text.strip(), autoescape=True) for field in fields)))
        with self.database.read() as connection:
            if before is not None:
                query = query.where(JobRow.number < self._expect(connection, before).number)
            return [read_job(row) for row in connection.execute(query)]

    def counts(self, owner: str | None = None) -> dict[JobState, int]:
        """Count the jobs in each state, of one owner or of all."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        if owner is not None:
            query = query.where(JobRow.owner == owner)
        with self.database.read() as connection:
            found = {str(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def count_ahead(self, job_id: str) -> int:
        """Count the waiting jobs submitted before this one; 0 if this one does not wait."""
        with self.database.read() as connection:
            own = self._expect(connection, job_id)
            if own.state != JobState.QUEUED:
                return 0
            query = select(func.count()).where(JobRow.state == str(JobState.QUEUED), JobRow.number < own.number)
            return connection.execute(query).scalar_one()

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job; raise ValueError for an invalid id, so that no path leads elsewhere."""
        if len(job_id) != 32 or not set(job_id) <= set("0123456789abcdef"):
            raise ValueError(f"{job_id[:40]!r} is not a job id")
        return self.root / job_id

    def input(self, job_id: str) -> Path:
        """Return the path of a job's file; that of a link exists after the fetch."""
        return self.folder(job_id) / folders.INPUT

    def read_result(self, job_id: str) -> AnalysisResult:
        """Read the result of a job; raise JOB_NOT_DONE if there is none, REPORT_DAMAGED if it is damaged."""
        job = self.get(job_id)
        if job.state != JobState.DONE:
            raise WebCode.JOB_NOT_DONE(
                f"The job is {job.state}, so it has no result.",
                "Wait until it is done." if job.state.is_open else "Run it again.",
            )
        return folders.read_result(self.folder(job_id))

    def read_speakers(self, job_id: str) -> str | None:
        """Return the JSON of the speaker result or of its error; None if not requested."""
        path = self.folder(self.get(job_id).id) / folders.SPEAKERS
        return path.read_text("utf-8") if path.exists() else None

    # workers

    def lease(self, worker: str) -> Job | None:
        """Take the next job, fairly among owners; None if there is none.

        Jobs of lost workers are requeued first, or set aside after the second loss.
        """
        with self.database.read() as connection:
            if not is_something_due(connection, self._clock()):
                return None
        with self.database.write() as connection:
            requeue_lost(connection, self._clock())
            row = choose_next(connection, self.settings.queue.max_running)
            if row is None:
                return None
            now = self._clock()
            values = {
                "state": JobState.RUNNING,
                "worker": worker,
                "leased_until": now + LEASE,
                "started_at": now,
                "tries": row.tries + 1,
                "step": "",
                "share": 0.0,
                "left_s": None,
            }
            connection.execute(update(JobRow).where(JobRow.number == row.number).values(values))
            return read_job(self._expect(connection, row.id))

    def check_room(self) -> None:
        """Raise DISK_FULL if no space is left for files."""
        self._intake.check_room()

    def renew(self, job_id: str, worker: str, step: str = "", share: float = 0.0, left_s: float | None = None) -> bool:
        """Renew the lease and record the progress; False: stop, the job was cancelled, deleted or taken over."""
        progress = {"step": step, "share": func.max(JobRow.share, share), "left_s": left_s}
        values = {"leased_until": self._clock() + LEASE, **progress}
        return self._update(job_id, worker, values)

    def keep_input(self, job_id: str, worker: str, media: FetchedMedia) -> bool:
        """Move a fetched file into the job's folder as its input; False as in `renew`."""
        facts = {
            "title": media.title,
            "extractor": media.extractor,
            "final_url": media.final_url,
            "fetched_at": media.fetched_at.isoformat(timespec="seconds"),
            "ytdlp_version": media.ytdlp_version,
            "layers": list(media.layers),
            "parts_sha256": list(media.parts_sha256),
            "format_id": media.format_id,
            "language": media.language or "not stated",
            "offered": [str(one) for one in media.offered],
        }
        (self.folder(job_id) / folders.ORIGIN).write_text(json.dumps(facts, indent=2), "utf-8")
        media.path.rename(self.input(job_id))
        values: dict[str, Any] = {"sha256": media.sha256, "size_bytes": media.n_bytes}
        job = self.get(job_id)
        if media.title.strip() and job.name == job.url:  # the user entered no name
            values["name"] = media.title.strip()
        return self._update(job_id, worker, values)

    def finish(self, job_id: str, worker: str, found: AnalysisResult) -> bool:
        """Store the complete result; return False, and store nothing, if the worker no longer holds the job."""
        folder = self.folder(job_id)
        if not folder.is_dir():
            return False  # deleted
        with folders.write_temporary(folder, found) as place, self.database.write() as connection:
            row = connection.execute(self._held(select(JobRow.number), job_id, worker)).first()
            if row is None:
                return False
            folders.replace_results(place, folder)
            named = [{"job_number": row.number, "speaker_id": one} for one in found.speaker_ids]
            connection.execute(delete(JobSpeakerRow).where(JobSpeakerRow.job_number == row.number))
            if named:
                connection.execute(insert(JobSpeakerRow), named)
            values = {"state": JobState.DONE, "finished_at": self._clock(), "recipe": found.analysis.recipe}
            ended = {"step": "", "share": 1.0, "error_code": None, "error_message": None, "error_hint": None}
            connection.execute(update(JobRow).where(JobRow.number == row.number).values(values | ended | NO_LEASE))
        return True

    def keep_items(self, job_id: str, items: Sequence[MediaItem]) -> None:
        """Store the videos of a link among which its user has to choose."""
        (self.folder(job_id) / folders.ITEMS).write_bytes(folders.MEDIA_ITEMS.dump_json(tuple(items)))

    def read_items(self, job_id: str) -> tuple[MediaItem, ...]:
        """Return what `keep_items` stored; empty for any other job."""
        path = self.folder(job_id) / folders.ITEMS
        return folders.MEDIA_ITEMS.validate_json(path.read_bytes()) if path.is_file() else ()

    def fail(self, job_id: str, worker: str, error: EngineError) -> bool:
        """Finish the job with an error; False as in `renew`."""
        values = {"state": JobState.FAILED, "finished_at": self._clock(), **write_error(JobError.of(error)), **NO_LEASE}
        return self._update(job_id, worker, values)

    def release(self, job_id: str, worker: str) -> bool:
        """Put a job back into the queue without counting an attempt, as a terminating worker does."""
        values = {"state": JobState.QUEUED, "tries": JobRow.tries - 1, "step": "", "share": 0.0, **NO_LEASE}
        return self._update(job_id, worker, values)

    def end_leases(self, worker: str) -> int:
        """Free the jobs of a dead worker immediately and return their number."""
        held = (JobRow.worker == worker, JobRow.state == str(JobState.RUNNING))
        with self.database.write() as connection:
            values = {"leased_until": self._clock() - LEASE}
            return connection.execute(update(JobRow).where(*held).values(values)).rowcount

    # cleanup

    def find_open(self) -> dict[str, bool]:
        """Return every job id and whether the job waits or runs."""
        with self.database.read() as connection:
            return {row.id: row.state in OPEN for row in connection.execute(select(JobRow.id, JobRow.state))}

    def forget(self, job_id: str) -> bool:
        """Delete the row of a finished job without a folder."""
        with self.database.write() as connection:
            ended = (JobRow.id == job_id, JobRow.state.not_in(OPEN))
            return connection.execute(delete(JobRow).where(*ended)).rowcount == 1

    # within

    def _add(self, new: NewJob, fill: Callable[[Path], tuple[str | None, int]], url: str | None = None) -> Job:
        """Fill a new folder and insert the job, unless the limits were reached in the meantime."""
        job_id = uuid.uuid4().hex
        folder = self._intake.make_folder(self.folder(job_id))
        try:
            sha256, size = fill(folder)
            with self.database.write() as connection:
                self._intake.admit(connection, new.owner, new.batch, size, self._clock())
                connection.execute(insert(JobRow).values(enter_job(job_id, new, url, sha256, size, self._clock())))
                return read_job(self._expect(connection, job_id))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _share(self, old: Job, folder: Path) -> tuple[str | None, int]:
        """Link or copy the file of an old job into a new one; either can be deleted."""
        for name in (folders.INPUT, folders.ORIGIN):
            source = self.folder(old.id) / name
            if source.exists():
                self._intake.link(source, folder / name)
        return old.sha256, old.size_bytes

    def _update(self, job_id: str, worker: str, values: dict[str, Any]) -> bool:
        with self.database.write() as connection:
            return connection.execute(self._held(update(JobRow), job_id, worker).values(values)).rowcount == 1

    @staticmethod
    def _held(statement: Any, job_id: str, worker: str) -> Any:
        """Restrict a statement to a job that this worker holds."""
        return statement.where(JobRow.id == job_id, JobRow.worker == worker, JobRow.state == str(JobState.RUNNING))

    @staticmethod
    def _expect(connection: Connection, job_id: str) -> Row[Any]:
        row = connection.execute(select(JobRow.__table__).where(JobRow.id == job_id)).first()
        if row is None:
            raise WebCode.UNKNOWN_JOB("There is no such job.", "It may have been deleted; see the list.")
        return row
