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
    """More than the limits allow; its subclasses say of what."""

    code = "MEDIA_TOO_LARGE"


class FileTooLarge(MediaTooLarge):
    """More bytes than allowed."""

    code = "FILE_TOO_LARGE"


class TooManyPixels(MediaTooLarge):
    """Larger pictures than allowed, by the header or by the stream itself."""

    code = "TOO_MANY_PIXELS"


class TooManyPictures(MediaTooLarge):
    """More pictures than allowed, counted while reading."""

    code = "TOO_MANY_PICTURES"


class RateTooHigh(MediaTooLarge):
    """More pictures a second than allowed."""

    code = "RATE_TOO_HIGH"


class TooLong(MediaTooLarge):
    """Picture or sound lasts longer than allowed."""

    code = "TOO_LONG"


class TooManyStreams(MediaTooLarge):
    """More streams of picture and sound than allowed."""

    code = "TOO_MANY_STREAMS"


class SoundTooLarge(MediaTooLarge):
    """More channels of sound, or more samples a second, than allowed."""

    code = "SOUND_TOO_LARGE"


class DecodingTooLarge(MediaTooLarge):
    """More memory or processor time is needed to decode the file than allowed."""

    code = "DECODING_TOO_LARGE"


class CodecRefused(UnreadableVideo):
    """Picture or sound is coded in a way whose decoder is not let near files of unknown origin."""

    code = "CODEC_REFUSED"


class DecoderFailed(UnreadableVideo):
    """The process that decodes crashed on the file, hung, or said what makes no sense."""

    code = "DECODER_FAILED"


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


class BadScores(EngineError):
    """A file of scores is none, or has too little in it to be calibrated."""

    code = "BAD_SCORES"


class BadCalibration(EngineError):
    """A calibration record is damaged, of another schema, or breaks a rule of its life."""

    code = "BAD_CALIBRATION"


class RecipeMismatch(EngineError):
    """A score of one recipe was about to be read by the calibration of another."""

    code = "RECIPE_MISMATCH"


class BadUrl(EngineError):
    """Not a plain http or https URL: another scheme, a user name in it, a spelling that can be read in two ways."""

    code = "BAD_URL"


class AddressForbidden(EngineError):
    """A URL, or what it led to, is not a public address of the web."""

    code = "ADDRESS_FORBIDDEN"


class SiteUnreachable(EngineError):
    """A site's name is unknown, or it does not answer."""

    code = "SITE_UNREACHABLE"


class LoginNeeded(EngineError):
    """A site shows its media to those who are logged in, or turns programs away."""

    code = "LOGIN_NEEDED"


class NoMedia(EngineError):
    """There is no video at a URL, or none in one piece."""

    code = "NO_MEDIA"


class PlaylistGiven(EngineError):
    """A URL leads to several videos."""

    code = "PLAYLIST_GIVEN"


class LiveMedia(EngineError):
    """A URL leads to a stream that is being sent."""

    code = "LIVE_MEDIA"


class UpcomingMedia(EngineError):
    """A URL leads to a video that is announced and not yet there."""

    code = "UPCOMING_MEDIA"


class UnfinishedMedia(EngineError):
    """A URL leads to a stream that has just ended and is not yet a video."""

    code = "UNFINISHED_MEDIA"


class MediaTooLong(EngineError):
    """A site says that its video is longer than the limits allow."""

    code = "MEDIA_TOO_LONG"


class FetchTooSlow(EngineError):
    """A site sends, but too slowly to wait for it."""

    code = "FETCH_TOO_SLOW"


class FetchTimeout(EngineError):
    """Fetching took longer than the limits allow."""

    code = "FETCH_TIMEOUT"


class FetchFailed(EngineError):
    """A site's media could not be fetched for another reason."""

    code = "FETCH_FAILED"


class FetchUnavailable(EngineError):
    """Nothing can be fetched from the web here: yt-dlp is missing or too old, or the system lacks what it needs."""

    code = "FETCH_UNAVAILABLE"
