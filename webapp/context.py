"""The stores that the page and the API share, each opened once per process."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from engine.settings import Settings
from gallery_db.gallery import Gallery
from webapp.accounts.records import User
from webapp.bundle.signing_key import SigningKey, open_key
from webapp.errors import WebCode
from webapp.gallery import open_gallery
from webapp.jobs.records import Job
from webapp.jobs.store import JobStore


@dataclass(frozen=True, eq=False)
class AppContext:
    """Settings, jobs and gallery, shared by all requests and threads; heavy work runs in the workers."""

    settings: Settings
    jobs: JobStore
    gallery: Gallery

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open both databases; raise EngineError if one cannot be opened."""
        return cls(settings, JobStore.open(settings), open_gallery(settings))

    @cached_property
    def key(self) -> SigningKey:
        """Signing key of evidence bundles, read or created on first use."""
        return open_key(self.settings.data_dir)

    def find_job(self, user: User, job_id: str) -> Job:
        """Return a job that the user may see; UNKNOWN_JOB for another user's too, so that its id stays secret."""
        try:
            self.jobs.folder(job_id)
        except ValueError:
            raise WebCode.UNKNOWN_JOB("There is no such job.", "See the list.") from None
        job = self.jobs.get(job_id)
        if not user.owns(job.owner):
            raise WebCode.UNKNOWN_JOB("There is no such job.", "It may have been deleted; see the list.")
        return job

    def close(self) -> None:
        """Close both databases."""
        self.jobs.close()
        self.gallery.close()
