"""Errors for users: the message states what was found and what was expected, the hint what to do."""

from enum import StrEnum, auto


class ErrorCode(StrEnum):
    """Public error codes; each value is the name of the member. Each package defines its own."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
        return name

    def __call__(self, message: str, hint: str = "") -> "EngineError":
        """Create an error with this code."""
        return EngineError(message, hint, self)


class Code(ErrorCode):
    """Error codes of the engine, except those of the classes below, which callers catch."""

    # Media files
    UNREADABLE_VIDEO = auto()  # cannot be decoded: empty, damaged, not a video, or of a refused format
    NO_VIDEO = auto()  # no video stream
    CODEC_REFUSED = auto()  # of a codec that is not allowed for files of unknown origin
    DECODER_FAILED = auto()  # the decoder process crashed, hung, or sent an invalid message
    MEDIA_TOO_LARGE = auto()  # the video at a URL has more bytes than allowed
    FILE_TOO_LARGE = auto()  # more bytes than allowed
    TOO_MANY_PIXELS = auto()  # larger frames than allowed, by the header or by the stream itself
    TOO_MANY_PICTURES = auto()  # more frames than allowed, counted while reading
    RATE_TOO_HIGH = auto()  # more frames per second than allowed
    TOO_LONG = auto()  # video or audio is longer than allowed
    TOO_MANY_STREAMS = auto()  # more video and audio streams than allowed
    BAD_SELECTION = auto()  # a range, audio track or channel was asked for that the file does not have
    SOUND_TOO_LARGE = auto()  # more audio channels, or a higher sampling rate, than allowed
    DECODING_TOO_LARGE = auto()  # decoding needs more memory or processor time than allowed

    # Models and data
    WEIGHTS_PRESENT = auto()  # other weights of that name exist already
    CHECKPOINT_REFUSED = auto()  # a foreign checkpoint is hostile, damaged, or of another model
    BAD_MANIFEST = auto()  # an evaluation or training manifest lacks a column or refers to a missing file
    UNMARKED_FRAME = auto()  # refused to write a manipulated frame without its watermark
    BAD_SCORES = auto()  # a score file is invalid, or has too few scores for a calibration
    BAD_CALIBRATION = auto()  # a calibration record is damaged, of another schema, or breaks a rule of its life cycle
    RECIPE_MISMATCH = auto()  # refused to apply a calibration of one recipe to a score of another
    RECOGNISER_MISSING = auto()  # the phoneme recogniser is not installed
    LANGUAGE_UNKNOWN = auto()  # no phoneme model for this language
    NOBODY_SEEN = auto()  # no face is visible for a second
    MANY_FACES = auto()  # several faces, and none of them is clearly the speaker
    REPORT_DAMAGED = auto()  # a report is incomplete or of another format

    # Videos from the web
    BAD_URL = auto()  # not a plain http or https URL: another scheme, a user name, an ambiguous spelling
    ADDRESS_FORBIDDEN = auto()  # a URL, or an address it leads to, is not public
    SITE_UNREACHABLE = auto()  # the site's name is unknown, or it does not answer
    LOGIN_NEEDED = auto()  # the site requires a login, or rejects programs
    NO_MEDIA = auto()  # no video at the URL, or none in one piece
    PLAYLIST_GIVEN = auto()  # the URL leads to several videos
    LIVE_MEDIA = auto()  # the URL leads to a live stream
    UPCOMING_MEDIA = auto()  # the URL leads to an announced video
    UNFINISHED_MEDIA = auto()  # the URL leads to a stream that has just ended
    MEDIA_TOO_LONG = auto()  # the site states a length above the limit
    FETCH_TOO_SLOW = auto()  # the site sends too slowly
    FETCH_TIMEOUT = auto()  # fetching took longer than allowed
    FETCH_FAILED = auto()  # fetching failed for another reason
    FETCH_UNAVAILABLE = auto()  # yt-dlp is missing or too old, or the system cannot confine a download


class EngineError(Exception):
    """An error for the user.

    `code` is stable and machine-readable, `message` states what was found and what was expected, `hint` what to do.
    """

    code = "ENGINE_ERROR"

    def __init__(self, message: str, hint: str = "", code: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = str(code)  # a plain str, so that databases and serialisers need not know the enum


class WeightsMissing(EngineError):
    """A model file is missing."""

    code = "WEIGHTS_MISSING"


class WeightsDamaged(EngineError):
    """Hash, keys or shapes of a model file differ from the record."""

    code = "WEIGHTS_DAMAGED"


class WeightsForbidden(EngineError):
    """The licence of a model file forbids this use."""

    code = "WEIGHTS_FORBIDDEN"


class LicenceNotAccepted(EngineError):
    """The licence of a model file has not been accepted."""

    code = "LICENCE_NOT_ACCEPTED"


class FolderUnwritable(EngineError):
    """A folder is not writable, or its disk is full."""

    code = "FOLDER_UNWRITABLE"


class NotForgeable(EngineError):
    """A clip cannot be manipulated in this way: no face, no space for the watermark, no other person."""

    code = "NOT_FORGEABLE"
