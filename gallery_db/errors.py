"""Errors of the gallery that a person can act on."""

from enum import auto

from engine.errors import EngineError, ErrorCode
from gallery_db.records import Rejection


class GalleryCode(ErrorCode):
    """The gallery's codes, without those of the classes below, which callers catch."""

    UNKNOWN_SPEAKER = auto()  # no such speaker, sample or merge
    NAME_TAKEN = auto()  # another speaker has that name, or it is not a valid name
    EMBEDDER_MISMATCH = auto()  # embeddings or calibration of another recipe: they are never compared
    SEARCH_WITHOUT_REASON = auto()  # a 1:N identification needs a reason that can be kept on record
    GALLERY_UNREACHABLE = auto()  # the database cannot be opened: no server, wrong URL, an unsuitable folder
    FILE_REFUSED = auto()  # a backup or an exported file is damaged, of a newer format, or of another kind

    def __call__(self, message: str, hint: str = "") -> "GalleryError":
        """Make an error of this code."""
        return GalleryError(message, hint, self)


class GalleryError(EngineError):
    """Something about the enrolled speakers that the person can act on."""

    code = "GALLERY_ERROR"


class EnrolmentRefused(GalleryError):
    """None of the samples was accepted, so nothing was written; `rejected` has the reason of each."""

    code = "ENROLMENT_REFUSED"

    def __init__(self, message: str, hint: str = "", rejected: tuple[Rejection, ...] = ()):
        super().__init__(message, hint)
        self.rejected = rejected


class GalleryNewer(GalleryError):
    """The database was written by a newer version of Wayspeak."""

    code = "GALLERY_NEWER"


class GalleryDamaged(GalleryError):
    """The database is damaged, or not a database."""

    code = "GALLERY_DAMAGED"


class GalleryBusy(GalleryError):
    """Other processes held the database for too long."""

    code = "GALLERY_BUSY"
