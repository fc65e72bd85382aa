"""What ends a job on its way."""


class JobStopped(Exception):  # nothing that a person is told
    """Raised from within a step: the job was cancelled, or another worker has it."""
