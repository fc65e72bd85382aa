"""Errors whose text is meant for the person who brought the file: found, wanted, what to do."""


class EngineError(Exception):
    """Something the person can act on.

    `code` is stable and machine-readable, `message` says what was found and what was wanted,
    `hint` says what to do next.
    """

    code = "ENGINE_ERROR"

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint


class UnreadableVideo(EngineError):
    """Not a video that can be decoded: empty, damaged, of another kind, or of a refused format."""

    code = "UNREADABLE_VIDEO"


class NoVideo(EngineError):
    """A media file without a picture stream."""

    code = "NO_VIDEO"


class MediaTooLarge(EngineError):
    """More pixels, frames or seconds than the limits allow."""

    code = "MEDIA_TOO_LARGE"


class WeightsMissing(EngineError):
    """A model file is not where it should be."""

    code = "WEIGHTS_MISSING"


class WeightsDamaged(EngineError):
    """A model file's hash, keys or shapes are not the recorded ones."""

    code = "WEIGHTS_DAMAGED"


class BadManifest(EngineError):
    """An evaluation or training manifest lacks a column or names a missing file."""

    code = "BAD_MANIFEST"


class WeightsForbidden(EngineError):
    """A model file may not be used for this: its licence forbids it."""

    code = "WEIGHTS_FORBIDDEN"


class WeightsPresent(EngineError):
    """Other weights of that name are there already."""

    code = "WEIGHTS_PRESENT"


class LicenceNotAccepted(EngineError):
    """A model file is there, and the licence it comes under has not been accepted."""

    code = "LICENCE_NOT_ACCEPTED"


class CheckpointRefused(EngineError):
    """A foreign checkpoint is hostile, damaged, or of another model."""

    code = "CHECKPOINT_REFUSED"


class FolderUnwritable(EngineError):
    """A folder cannot be written, or there is no room left in it."""

    code = "FOLDER_UNWRITABLE"


class NotForgeable(EngineError):
    """A clip cannot be made into a forgery of this kind: no face, no room for the mark, no other person."""

    code = "NOT_FORGEABLE"


class UnmarkedFrame(EngineError):
    """A forged picture without its watermark was about to be written."""

    code = "UNMARKED_FRAME"
