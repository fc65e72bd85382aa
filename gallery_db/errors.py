"""What the gallery refuses, in words for the person at the screen: found, wanted, what to do."""

from engine.errors import EngineError
from gallery_db.records import Rejection


class GalleryError(EngineError):
    """Something about who is enrolled that the person can act on."""

    code = "GALLERY_ERROR"


class UnknownSpeaker(GalleryError):
    """No such speaker, sample or merge."""

    code = "UNKNOWN_SPEAKER"


class NameTaken(GalleryError):
    """Another speaker bears that name, or it cannot be one."""

    code = "NAME_TAKEN"


class EnrolmentRefused(GalleryError):
    """Not one of the samples was accepted, so nothing was written; `rejected` says why of each."""

    code = "ENROLMENT_REFUSED"

    def __init__(self, message: str, hint: str = "", rejected: tuple[Rejection, ...] = ()):
        super().__init__(message, hint)
        self.rejected = rejected


class EmbedderMismatch(GalleryError):
    """Embeddings or calibration of another recipe: they are never compared."""

    code = "EMBEDDER_MISMATCH"


class SearchWithoutReason(GalleryError):
    """A search among everyone needs a reason that can be kept on record."""

    code = "SEARCH_WITHOUT_REASON"


class GalleryNewer(GalleryError):
    """The database was written by a newer version of Wayspeak."""

    code = "GALLERY_NEWER"


class GalleryDamaged(GalleryError):
    """The database is not one, or it is damaged."""

    code = "GALLERY_DAMAGED"


class GalleryBusy(GalleryError):
    """Others held the database for too long."""

    code = "GALLERY_BUSY"


class GalleryUnreachable(GalleryError):
    """The database cannot be opened: no server, wrong URL, a folder that cannot hold it."""

    code = "GALLERY_UNREACHABLE"


class FileRefused(GalleryError):
    """A backup or an exported file is damaged, of a newer format, or of another kind."""

    code = "FILE_REFUSED"
