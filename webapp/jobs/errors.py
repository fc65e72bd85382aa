"""What the queue refuses, in words for the person at the screen, and what ends a job on its way."""

from engine.errors import EngineError


class QueueError(EngineError):
    """Something about a job that the person can act on."""

    code = "JOB_ERROR"


class UnknownJob(QueueError):
    """There is no such job, or not any more."""

    code = "UNKNOWN_JOB"


class JobNotDone(QueueError):
    """A result was asked for that is not there: the job waits, runs, or ended without one."""

    code = "JOB_NOT_DONE"


class QueueFull(QueueError):
    """As many jobs wait as may."""

    code = "QUEUE_FULL"


class QuotaUsed(QueueError):
    """Somebody has used up what they may: jobs in an hour, or room for files."""

    code = "QUOTA_USED"


class DiskFull(QueueError):
    """No room is left for another file."""

    code = "DISK_FULL"


class WorkerLost(QueueError):
    """The process that had the job ended before it was done."""

    code = "WORKER_LOST"


class OutOfMemory(QueueError):
    """A file needs more memory than there is, of the machine or of its GPU."""

    code = "OUT_OF_MEMORY"


class SomethingWrong(QueueError):
    """A mistake of Wayspeak's own."""

    code = "INTERNAL_ERROR"


class JobStopped(Exception):  # nothing that a person is told
    """Raised from within a step: the job was cancelled, or another worker has it."""
