"""What the routes need: the jobs, the gallery, the key that signs. Each is opened when it is first asked for."""

from collections.abc import Callable
from functools import cached_property

from engine.settings import Settings
from gallery_db.gallery import Gallery
from webapp.accounts.records import Visitor
from webapp.evidence.keys import SigningKey, open_key
from webapp.galleries import open_gallery
from webapp.jobs.errors import UnknownJob
from webapp.jobs.records import Job
from webapp.jobs.store import JobStore


class Services:
    """Shared by all requests; threads may share one."""

    def __init__(self, settings: Settings, open_gallery: Callable[[Settings], Gallery] = open_gallery):
        self.settings, self._open_gallery = settings, open_gallery

    @cached_property
    def jobs(self) -> JobStore:
        """The table of jobs."""
        return JobStore.open(self.settings)

    @cached_property
    def gallery(self) -> Gallery:
        """Who is enrolled."""
        return self._open_gallery(self.settings)

    @cached_property
    def key(self) -> SigningKey:
        """What signs evidence bundles."""
        return open_key(self.settings.data_dir)

    def find_job(self, visitor: Visitor, job_id: str) -> Job:
        """Give a job that is the visitor's to see; UnknownJob for another's too, so that nobody learns of it."""
        try:
            self.jobs.folder(job_id)
        except ValueError:
            raise UnknownJob("There is no such job.", "Look at the list.") from None
        job = self.jobs.get(job_id)
        if not visitor.owns(job.owner):
            raise UnknownJob("There is no such job.", "It may have been deleted; look at the list.")
        return job

    def close(self) -> None:
        """Let go of what was opened."""
        for name in ("jobs", "gallery"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
