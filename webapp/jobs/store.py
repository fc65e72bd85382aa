"""The table of jobs and their folders: what people hand in stays until they delete it; each job has one worker at most.

A worker holds a job by a lease that it renews. Whatever it says of a job counts only while it still holds it, so a
worker that was slow, stopped or taken for dead never adds a second result. Importing this module imports no torch.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from engine.errors import EngineError
from engine.fetch.fetch import FetchedMedia
from engine.settings import Settings
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.records import AnalysisRequest, JobError
from webapp.database import AppDatabase
from webapp.errors import WebCode
from webapp.jobs import files as folders
from webapp.jobs.leases import LEASE, NOBODY, choose_next, is_something_due, take_back
from webapp.jobs.records import Job, JobState, NewJob
from webapp.jobs.schema import JobRow, JobSpeakerRow, enter_job, read_job, write_error
from webapp.jobs.uploads import UploadStore

FOLDER = "jobs"
OPEN = [str(state) for state in JobState if state.is_open]


def _now() -> datetime:
    return datetime.now(UTC)


class JobStore:
    """All jobs. Threads may share one; other processes have the same table open."""

    def __init__(self, database: AppDatabase, settings: Settings, clock: Callable[[], datetime] = _now):
        self.database, self.settings, self._clock = database, settings, clock
        self.root = settings.data_dir / FOLDER
        self._intake = UploadStore(settings)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the app's database; APP_DATABASE_ERROR and FolderUnwritable say why that cannot be."""
        return cls(AppDatabase.open(settings), settings)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    # what people do

    def enqueue(self, new: NewJob) -> Job:
        """Take a job in: its file is copied, and hashed on the way, before anything decodes it.

        UNREADABLE_VIDEO and FILE_TOO_LARGE of a file, QUEUE_FULL, QUOTA_USED and DISK_FULL: then nothing is kept.
        """
        size = self._intake.measure(new.path)
        with self.database.read() as connection:  # before a file is copied in vain
            self._intake.admit(connection, new.owner, new.batch, size, self._clock())
        self._intake.check_room(size)
        return self._add(new, lambda folder: self._intake.copy(new.path, folder) if new.path else (None, 0))

    def rerun(self, job_id: str, question: AnalysisRequest) -> Job:
        """Ask something else, or by another method, of the same file: a new job, with the file as it is kept."""
        old, source = self.get(job_id), self.input(job_id)
        if old.sha256 is not None and not source.exists():
            raise WebCode.UNKNOWN_JOB("The file of this job is not kept any more.", "Hand it in again.")
        new = NewJob(old.owner, old.name, question, source if old.sha256 else None, None if old.sha256 else old.url)
        with self.database.read() as connection:
            self._intake.admit(connection, new.owner, None, old.size_bytes, self._clock())
        self._intake.check_room()
        return self._add(new, lambda folder: self._share(old, folder), old.url)

    def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs; its worker learns of it with its next step. One that has ended stays so."""
        with self.database.write() as connection:
            self._expect(connection, job_id)
            values = {"state": JobState.CANCELLED, "finished_at": self._clock(), **NOBODY}
            connection.execute(update(JobRow).where(JobRow.id == job_id, JobRow.state.in_(OPEN)).values(values))
            return read_job(self._expect(connection, job_id))

    def delete(self, job_id: str) -> None:
        """Remove a job, its file and its results; one that runs is stopped. UNKNOWN_JOB where there is none."""
        with self.database.write() as connection:
            self._expect(connection, job_id)
            connection.execute(delete(JobRow).where(JobRow.id == job_id))
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    # what is there

    def get(self, job_id: str) -> Job:
        """Give a job as it is now; UNKNOWN_JOB where there is none."""
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
        """List jobs, the newest first: of an owner, in these states, with this text in name, link or hash.

        `before` is the last job of the page before; UNKNOWN_JOB where it is gone.
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
        """Count the jobs in each state, of an owner or of all."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        if owner is not None:
            query = query.where(JobRow.owner == owner)
        with self.database.read() as connection:
            found = {str(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def count_ahead(self, job_id: str) -> int:
        """How many jobs were handed in before this one and still wait; 0 for one that does not."""
        with self.database.read() as connection:
            own = self._expect(connection, job_id)
            if own.state != JobState.QUEUED:
                return 0
            query = select(func.count()).where(JobRow.state == str(JobState.QUEUED), JobRow.number < own.number)
            return connection.execute(query).scalar_one()

    def folder(self, job_id: str) -> Path:
        """Where a job's files are; ValueError for what is no id, so that none leads elsewhere."""
        if len(job_id) != 32 or not set(job_id) <= set("0123456789abcdef"):
            raise ValueError(f"{job_id[:40]!r} is no job")
        return self.root / job_id

    def input(self, job_id: str) -> Path:
        """The file of a job; a link's is there once it was fetched."""
        return self.folder(job_id) / folders.INPUT

    def read_result(self, job_id: str) -> AnalysisResult:
        """Read what a job found; JOB_NOT_DONE where it has found nothing yet, or never will, REPORT_DAMAGED."""
        job = self.get(job_id)
        if job.state != JobState.DONE:
            raise WebCode.JOB_NOT_DONE(
                f"The job is {job.state}, so it has no result.",
                "Wait until it is done." if job.state.is_open else "Ask for it again.",
            )
        return folders.read_examination(self.folder(job_id))

    def read_speakers(self, job_id: str) -> str | None:
        """Give the JSON of the second answer, or of why it is absent; None where nobody was asked about."""
        path = self.folder(self.get(job_id).id) / folders.SPEAKERS
        return path.read_text("utf-8") if path.exists() else None

    # what workers do

    def lease(self, worker: str) -> Job | None:
        """Take the next job: of whoever has the fewest running, then waited longest for a turn; None: there is none.

        Jobs whose worker is lost are taken up again first, or set aside where that happened twice.
        """
        with self.database.read() as connection:
            if not is_something_due(connection, self._clock()):
                return None
        with self.database.write() as connection:
            take_back(connection, self._clock())
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
            }
            connection.execute(update(JobRow).where(JobRow.number == row.number).values(values))
            return read_job(self._expect(connection, row.id))

    def check_room(self) -> None:
        """Raise DISK_FULL where no file is to be taken in any more."""
        self._intake.check_room()

    def beat(self, job_id: str, worker: str, step: str = "", share: float = 0.0) -> bool:
        """Renew the lease and say how far the job is; False: stop, it was cancelled, deleted or given to another."""
        values = {"leased_until": self._clock() + LEASE, "step": step, "share": func.max(JobRow.share, share)}
        return self._update(job_id, worker, values)

    def keep_input(self, job_id: str, worker: str, media: FetchedMedia) -> bool:
        """Make a file that was fetched into the job's folder the job's own; False as `beat` gives it."""
        facts = {
            "title": media.title,
            "extractor": media.extractor,
            "final_url": media.final_url,
            "fetched_at": media.fetched_at.isoformat(timespec="seconds"),
            "ytdlp_version": media.ytdlp_version,
            "layers": list(media.layers),
            "parts_sha256": list(media.parts_sha256),
        }
        (self.folder(job_id) / folders.ORIGIN).write_text(json.dumps(facts, indent=2), "utf-8")
        media.path.rename(self.input(job_id))
        values: dict[str, Any] = {"sha256": media.sha256, "size_bytes": media.n_bytes}
        job = self.get(job_id)
        if media.title.strip() and job.name == job.url:  # nobody has named it
            values["name"] = media.title.strip()
        return self._update(job_id, worker, values)

    def finish(self, job_id: str, worker: str, found: AnalysisResult) -> bool:
        """Keep the result, whole; False and nothing is kept where the job is not this worker's any more."""
        folder = self.folder(job_id)
        if not folder.is_dir():
            return False  # deleted
        with folders.write_aside(folder, found) as place, self.database.write() as connection:
            row = connection.execute(self._held(select(JobRow.number), job_id, worker)).first()
            if row is None:
                return False
            folders.move_in(place, folder)
            named = [{"job_number": row.number, "speaker_id": one} for one in found.speaker_ids]
            connection.execute(delete(JobSpeakerRow).where(JobSpeakerRow.job_number == row.number))
            if named:
                connection.execute(insert(JobSpeakerRow), named)
            values = {"state": JobState.DONE, "finished_at": self._clock(), "recipe": found.analysis.recipe}
            ended = {"step": "", "share": 1.0, "error_code": None, "error_message": None, "error_hint": None}
            connection.execute(update(JobRow).where(JobRow.number == row.number).values(values | ended | NOBODY))
        return True

    def fail(self, job_id: str, worker: str, error: EngineError) -> bool:
        """End the job with why there is no result; False as `beat` gives it."""
        values = {"state": JobState.FAILED, "finished_at": self._clock(), **write_error(JobError.of(error)), **NOBODY}
        return self._update(job_id, worker, values)

    def release(self, job_id: str, worker: str) -> bool:
        """Give a job back undone, as a worker does that is told to end: that counts as no try."""
        values = {"state": JobState.QUEUED, "tries": JobRow.tries - 1, "step": "", "share": 0.0, **NOBODY}
        return self._update(job_id, worker, values)

    def end_leases(self, worker: str) -> int:
        """Let the jobs of a worker that is known to be dead be taken up at once; gives how many these are."""
        held = (JobRow.worker == worker, JobRow.state == str(JobState.RUNNING))
        with self.database.write() as connection:
            values = {"leased_until": self._clock() - LEASE}
            return connection.execute(update(JobRow).where(*held).values(values)).rowcount

    # what the janitor does

    def find_open(self) -> dict[str, bool]:
        """Every job by its id, and whether it waits or runs."""
        with self.database.read() as connection:
            return {row.id: row.state in OPEN for row in connection.execute(select(JobRow.id, JobRow.state))}

    def forget(self, job_id: str) -> bool:
        """Remove the row of a job that has ended and whose folder is gone."""
        with self.database.write() as connection:
            ended = (JobRow.id == job_id, JobRow.state.not_in(OPEN))
            return connection.execute(delete(JobRow).where(*ended)).rowcount == 1

    # within

    def _add(self, new: NewJob, fill: Callable[[Path], tuple[str | None, int]], url: str | None = None) -> Job:
        """Fill a new folder, then enter the job, unless others have used up the room meanwhile."""
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
        """Let a new job have the file of an old one, which either may delete."""
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
        """Restrict a statement to a job that this worker has."""
        return statement.where(JobRow.id == job_id, JobRow.worker == worker, JobRow.state == str(JobState.RUNNING))

    @staticmethod
    def _expect(connection: Connection, job_id: str) -> Row[Any]:
        row = connection.execute(select(JobRow.__table__).where(JobRow.id == job_id)).first()
        if row is None:
            raise WebCode.UNKNOWN_JOB("There is no such job.", "It may have been deleted; look at the list.")
        return row
