"""The error codes of the page, the API, the queue and the accounts."""

from enum import auto

from engine.errors import ErrorCode


class WebCode(ErrorCode):
    """The codes of this package; LOGIN_LOCKED has a class, which carries the waiting time."""

    # HTTP
    BAD_REQUEST = auto()  # not JSON, too long, a file that cannot be accepted, or another error of HTTP itself
    NOT_FOUND = auto()  # nothing there, or it belongs to another user: the answer is the same
    METHOD_NOT_ALLOWED = auto()
    INVALID = auto()  # the request does not fit the schema
    FOREIGN_REQUEST = auto()  # sent by another site, or to a host name that is not allowed
    INTERNAL_ERROR = auto()  # a bug in Wayspeak

    # Accounts
    NOT_LOGGED_IN = auto()  # no session, or it has ended
    NOT_ALLOWED = auto()  # the user's role does not permit it
    BAD_LOGIN = auto()  # name and password do not match; the answer never states which of them is wrong
    BAD_ACCOUNT = auto()  # an invalid, taken or unknown name, or a weak password
    PUBLIC_WITHOUT_ACCOUNTS = auto()  # the server would be reachable from other machines without any login

    # Jobs
    UNKNOWN_JOB = auto()  # no such job, or it was deleted
    JOB_NOT_DONE = auto()  # the result does not exist: the job waits, runs, or ended without one
    QUEUE_FULL = auto()  # the maximum number of jobs is waiting
    QUOTA_USED = auto()  # the user's jobs per hour or disk space are used up
    DISK_FULL = auto()  # no space for another file
    WORKER_LOST = auto()  # the process that had the job ended before it was done
    OUT_OF_MEMORY = auto()  # a file needs more memory than the machine or its GPU has
    TRACES_UNREADABLE = auto()  # the stored audio and mouth signals are missing or damaged
    BAD_BATCH = auto()  # the input of a batch cannot be read, or is too large
    RAY_MISSING = auto()  # Ray is not installed, or no cluster answers at the address

    # Speakers
    NOT_ENOUGH_SPEECH = auto()  # too little speech while the face is visible
    BAD_CONSENT = auto()  # the consent that was sent is not valid
    NO_SUCH_FACE = auto()  # the job has no such face, or it was visible too briefly

    # Installation
    UNKNOWN_CALIBRATION = auto()  # no such calibration record
    KEY_DAMAGED = auto()  # the signing key exists and cannot be used
    APP_DATABASE_ERROR = auto()  # the app's database cannot be used
    APP_DATABASE_BUSY = auto()  # other processes held it for too long
    APP_DATABASE_DAMAGED = auto()  # damaged, not a database, or of another program
    APP_DATABASE_NEWER = auto()  # written by a newer Wayspeak
