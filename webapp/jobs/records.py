"""The records of the jobs. Importing them imports no torch.

What ends a job on its way.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from webapp.analysis.records import AnalysisRequest, JobError


class JobState(StrEnum):
    """How far a job is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"  # `Job.error` says why
    CANCELLED = "CANCELLED"
    SET_ASIDE = "SET_ASIDE"  # two workers ended over it: it is not tried again

    @property
    def is_open(self) -> bool:
        """It waits or runs."""
        return self in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is handed in: a file, which is copied, or a link, which is fetched when its turn comes."""

    owner: str
    name: str  # of the file, as the person knows it; of a link, its title where that is known
    question: AnalysisRequest = field(default_factory=AnalysisRequest)
    path: Path | None = None
    url: str | None = None
    batch: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.url is None):
            raise ValueError("a job wants a path or a URL, and not both")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now."""

    id: str  # uuid4, 32 hexadecimal digits
    owner: str
    state: JobState
    name: str
    url: str | None
    sha256: str | None  # of the file, taken while it was copied; None until a link is fetched
    size_bytes: int
    question: AnalysisRequest
    batch: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str  # the engine's word for what is being done, "" while it waits
    share: float  # of the whole, 0 to 1
    tries: int  # how often a worker took it
    error: JobError | None
    recipe: str | None  # of the answer to the first question


class JobStopped(Exception):  # nothing that a person is told
    """Raised from within a step: the job was cancelled, or another worker has it."""
