"""Records of the jobs; imports no torch."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from webapp.analysis.records import AnalysisRequest, JobError


class JobState(StrEnum):
    """State of a job."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"  # see `Job.error`
    CANCELLED = "CANCELLED"
    SET_ASIDE = "SET_ASIDE"  # two workers were lost over it: no further attempt

    @property
    def is_open(self) -> bool:
        """Return whether the job waits or runs."""
        return self in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A submitted job: a file, which is copied, or a link, which is fetched by the worker."""

    owner: str
    name: str  # of the uploaded file; the title of a link, if known
    question: AnalysisRequest = field(default_factory=AnalysisRequest)
    path: Path | None = None
    url: str | None = None
    batch: str | None = None
    item: int = 0  # number of the video at a link with several, from 1; 0: it has one

    def __post_init__(self) -> None:
        if (self.path is None) == (self.url is None):
            raise ValueError("a job needs either a path or a URL")


@dataclass(frozen=True, slots=True)
class Job:
    """A job."""

    id: str  # uuid4, 32 hexadecimal digits
    owner: str
    state: JobState
    name: str
    url: str | None
    sha256: str | None  # of the file, computed while it was copied; None until a link is fetched
    size_bytes: int
    question: AnalysisRequest
    batch: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str  # current step of the engine, "" while the job waits
    share: float  # of the whole, 0 to 1
    tries: int  # number of started attempts
    error: JobError | None
    recipe: str | None  # of the consistency result
    left_s: float | None = None  # estimated seconds until the end; None: not known yet, or the job does not run
    item: int = 0  # as in `NewJob`


class JobStopped(Exception):  # never shown to a user
    """Raised within a step: the job was cancelled, or another worker has it."""
