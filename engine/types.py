"""Records passed between the stages; importing them imports no torch.

Letters: `T` frames at 25 Hz, `N` samples at 16 kHz, `D` feature size, `K` half the offset search.
All times are seconds on the media clock; zero is the presentation time of the first video frame.

`Analysis` and its parts are also the report: `engine/reports/json.py` writes and reads JSON by these fields, in this
order. To add a field, add a line here, its value in `engine/pipeline.py` and, if visible, a line of a view; a default
keeps older reports readable.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from engine.json_fields import ArrayField, Rounded

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

Seconds = Annotated[float, Rounded(3)]
Score = Annotated[float, Rounded(6)]

OnStep = Callable[[str, int, int], None]
"""`on_step(name, completed, total)`: progress callback of the engine; total 0 means unknown."""


class Status(StrEnum):
    """Status of a result."""

    EVALUATED = "EVALUATED"
    LIMITED = "LIMITED"
    NOT_EVALUATED = "NOT_EVALUATED"
    FAILED = "FAILED"


class Model(StrEnum):
    """Consistency models, specified in `engine/consistency/model_specs.py`; the recipe names the weights."""

    COMPACT = "compact"
    AVHUBERT_BASE = "avhubert-base"
    AVHUBERT_LARGE = "avhubert-large"


class Mode(StrEnum):
    """Scoring mode."""

    STRICT = "strict"  # aligned in time: real pairs only, every face, long clips in windows
    PAPER = "paper"  # SpeechForensics as published: one face, one score, see `engine/consistency/speechforensics.py`


class Reason(StrEnum):
    """Reason for a limited or missing result: code, text and next step of the page, and whether it excludes an LLR.

    The rules are in `engine/consistency/gates.py`.
    """

    text: str  # a key of the translations, like `next_step`
    next_step: str
    bars_llr: bool  # excluded, since no calibration trial is like this

    def __new__(cls, code: str, text: str = "", next_step: str = "", bars_llr: bool = False) -> "Reason":
        """Create a member with its code as value, so that `Reason(code)` finds it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.text, member.next_step, member.bars_llr = text, next_step, bars_llr
        return member

    NO_AUDIO = (
        "NO_AUDIO",
        "the file has no sound",
        "Use a copy of the video that still has its sound.",
    )
    SILENT = (
        "SILENT",
        "the sound is silent",
        "Check that the sound is not muted, and use a louder copy.",
    )
    NOT_ENOUGH_SPEECH = (
        "NOT_ENOUGH_SPEECH",
        "too little speech while the face is seen: 1.5 s are needed, 10 s for a full answer",
        "Use a longer part of the recording, in which the person speaks and is seen.",
    )
    NO_FACE = (
        "NO_FACE",
        "no face was found",
        "Use a part that shows the speaker's face from the front, upright and lit.",
    )
    FACE_LOST = (
        "FACE_LOST",
        "no face is seen during much of the speech",
        "Cut the video to the part in which the speaker's face is in view.",
    )
    LOW_RES = (
        "LOW_RES",
        "the face is small: 48 pixels are needed, 100 for a full answer",
        "Use the original or a larger copy, or crop to the speaker before any scaling down.",
    )
    MULTI_FACE = (
        "MULTI_FACE",
        "several faces are seen together and none alone clearly fits the voice",
        "Decide by eye who speaks, and read that face's result; or crop the video to one person.",
    )
    TOO_SHORT = (
        "TOO_SHORT",
        "less than a second",
        "Use a longer clip: ten seconds of speech are enough for a full answer.",
    )
    LISTENER = (
        "LISTENER",
        "another face seen at the same time fits the voice: this one may be listening",
        "Read the result of the face that fits; this face is not expected to.",
        True,
    )
    EDITED = (
        "EDITED",
        "the clip has shot cuts; each shot is judged by itself",
        "Read each shot's result by itself, or analyse an uncut recording.",
    )
    OFFSET_BEYOND_SEARCH = (
        "OFFSET_BEYOND_SEARCH",
        "the sound may be displaced further than was searched",
        "Bring sound and picture roughly together in an editor, and analyse again.",
        True,
    )
    DRIFT = (
        "DRIFT",
        "the displacement of the sound changes along the clip",
        "Read the timeline second by second, and look for the original: converted copies often drift.",
    )
    FPS_VFR = (
        "FPS_VFR",
        "the picture rate is low or irregular",
        "Use the original recording; screen captures and calls lose pictures.",
    )
    TRUNCATED = (
        "TRUNCATED",
        "the file is damaged or ends early",
        "Get a complete copy; what could be read was analysed.",
    )
    STILL_FACE = (
        "STILL_FACE",
        "the mouth hardly moves while speech is heard: another person may be speaking",
        "Look for whoever speaks, perhaps out of view; this face may be listening.",
    )
    EXPERTS_DISAGREE = (
        "EXPERTS_DISAGREE",
        "two models contradict each other on this face and voice",
        "Look closer: play the clip, and read both curves and the timeline; trust neither alone.",
        True,
    )
    CLOCK_RESET = (
        "CLOCK_RESET",
        "the file's clock restarts or jumps: its parts were joined into one time line",
        "Read the times of the joints in the report; look for the recording before it was cut or resumed.",
    )
    CHANNELS_DIFFER = (
        "CHANNELS_DIFFER",
        "the sound channels hold different sound: each was judged, and the one that fits better is given",
        "Listen to each channel alone, and choose one for the analysis.",
    )
    OCCLUDED = (
        "OCCLUDED",
        "the mouth is covered during much of the speech: a hand, mask, microphone or scarf",
        "Cut the video to the part in which the mouth is in view.",
    )
    FACES_LEFT_OUT = (
        "FACES_LEFT_OUT",
        "more faces are seen together than are analysed",
        "Crop the video to the person who speaks, and analyse again.",
    )
    ROTATED = (
        "ROTATED",
        "no face was found in the picture as stored, so it was turned upright",
        "Check with the original whether the recording was turned.",
    )
    QUIET = (
        "QUIET",
        "the speech is very quiet",
        "Use a louder copy, or the original recording.",
    )
    VOICE_CHANGES = (
        "VOICE_CHANGES",
        "part of the speech is another voice than the rest, and does not fit this face",
        "Play the marked spans: a speaker out of view, a dubbed sentence and an edit all do that.",
        True,
    )
    UNCALIBRATED = (
        "UNCALIBRATED",
        "the score is not calibrated",
        "Compare scores of one recipe only, and wait for a calibration before drawing conclusions.",
    )


def no_rows() -> np.ndarray:
    """Return (0,) bool, the default of a mask that `fill_rows` completes."""
    return np.zeros(0, bool)


def fill_rows(record: object, name: str, length: int) -> None:
    """Replace the default of a mask in a frozen record of `length` rows by a mask that is never True."""
    mask = getattr(record, name)
    if len(mask) == 0:
        object.__setattr__(record, name, np.zeros(length, bool))
    elif mask.shape != (length,):
        raise ValueError(f"{name} has shape {mask.shape}, wanted ({length},)")


def _freeze(*arrays: np.ndarray) -> None:
    for array in arrays:
        array.flags.writeable = False


@dataclass(frozen=True, slots=True)
class MediaSelection:
    """Part and audio of a recording to analyse; by default all of it, with the audio track chosen by rule.

    Times are seconds on the media clock of the whole file, so results of a part keep the times of the file.
    """

    from_s: float = 0.0
    to_s: float | None = None  # None: to the end
    audio_track: int | None = None  # number of an `AudioTrack`, 1 for the first of the file; None: chosen by rule
    channel: str | None = None  # "mix", or a channel as FFmpeg names it: "FL" (left), "FR" (right); None: by rule


WHOLE = MediaSelection()


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """One audio track of a file."""

    number: int  # 1 for the first audio track of the file
    codec: str
    channels: tuple[str, ...]  # as FFmpeg names them: FL, FR, FC ...
    language: str | None = None  # as stored in the file
    title: str | None = None
    is_default: bool = False
    program: int | None = None  # of a transport stream
    speech_s: Seconds | None = None  # seconds of speech found in it; None: not decoded


@dataclass(frozen=True, slots=True)
class ClockSeam:
    """A place where the timestamps of a file restart or jump, and the media clock goes on."""

    at_s: Seconds  # on the media clock
    before_s: Seconds  # end of the earlier part in the timestamps of the file
    after_s: Seconds  # start of the later part in the timestamps of the file


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What of a file was judged: time range, audio track, channel, rotation, and what else there was."""

    zero_s: Seconds = 0.0  # timestamp of the first picture in the file: media time 0
    player_zero_s: Seconds = 0.0  # of the first picture on the clock of a player, which begins with the first stream
    from_s: Seconds = 0.0  # analysed range on the media clock
    to_s: Seconds | None = None  # None: in reports of earlier versions
    seams: tuple[ClockSeam, ...] = ()
    audio_track: int | None = None  # number of the judged track; None: no audio
    channel: str | None = None  # judged channel, "mix" for all; None: no audio
    audio_tracks: tuple[AudioTrack, ...] = ()  # every audio track of the file
    rotation_deg: int = 0  # clockwise turn applied to the pictures, beyond that of the file's metadata
    faces_left_out: int = 0  # most faces seen at one time that were not analysed

    @property
    def jumps(self) -> tuple[tuple[float, float], ...]:
        """Media times and seconds by which the clock of a player, which keeps the file's gaps, is ahead from there."""
        steps = ((seam.at_s, seam.after_s - seam.before_s) for seam in self.seams)
        return tuple((at_s, step_s) for at_s, step_s in steps if step_s > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame on the 25 Hz clock."""

    index: int
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright (rotation metadata applied)
    is_new: bool  # False: repeats the last frame, the source has no newer one


@dataclass(frozen=True, slots=True, eq=False)
class AudioSignal:
    """Audio of one track, mixed to one channel or one channel of it, on the clock of the clip."""

    track: int
    channel: str  # "mix", or the channel
    samples: np.ndarray  # (N,) float32 in [-1, 1], 16 kHz, N == 640 * n_frames
    present: np.ndarray  # (T,) bool: the file has audio for the whole frame

    def __post_init__(self) -> None:
        _freeze(self.samples, self.present)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A media file, or a range of it, on one clock: sample 0 is at the time of frame 0; frames are streamed."""

    path: Path
    sha256: str
    duration_s: float  # of the video, n_frames / 25
    n_frames: int  # at 25 Hz
    size_px: tuple[int, int]  # width, height, upright
    source_fps: float  # mean rate of the source
    has_audio: bool
    audio: np.ndarray  # (N,) float32 in [-1, 1], 16 kHz mono, N == 640 * n_frames
    audio_present: np.ndarray  # (T,) bool: the file has audio for the whole frame
    reasons: tuple[Reason, ...]  # found while reading the container: FPS_VFR, TRUNCATED
    read_frames: Callable[[], Iterator[Frame]]  # each call streams all n_frames frames
    media: MediaReport = field(default_factory=MediaReport)
    signals: tuple[AudioSignal, ...] = ()  # every decoded audio track, the preferred one, which is `audio`, first
    split: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Tracks of several signals, by number: the channels to read one by one instead of their mix."""
    read_channel: Callable[[int, str], AudioSignal] | None = None  # decodes a channel of a track; None: no file

    def __post_init__(self) -> None:
        if self.audio.shape != (self.n_frames * SAMPLES_PER_FRAME,):
            raise ValueError(f"audio has shape {self.audio.shape}, wanted ({self.n_frames * SAMPLES_PER_FRAME},)")
        if self.audio_present.shape != (self.n_frames,):
            raise ValueError(f"audio_present has shape {self.audio_present.shape}, wanted ({self.n_frames},)")
        _freeze(self.audio, self.audio_present)


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """Track of one face through one shot."""

    start: int  # frame number of row 0
    boxes: np.ndarray  # (T, 4) float32, pixels, x0 y0 x1 y1 around the landmarks
    landmarks: np.ndarray  # (T, 478, 3) float32, pixels; z on the scale of x, smaller is nearer
    blendshapes: np.ndarray  # (T, 52) float32 in [0, 1], in the order of `landmarker.BLENDSHAPES`
    seen: np.ndarray  # (T,) bool: False: interpolated over a short gap
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB, the largest view
    covered: np.ndarray = field(default_factory=no_rows)  # (T,) bool: mouth covered, no evidence; default: never
    cover_log_odds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    """(T,) float32: log-odds that the mouth is covered, not smoothed; NaN where not measured. Default: nowhere."""

    def __post_init__(self) -> None:
        length = len(self.boxes)
        fill_rows(self, "covered", length)
        if length == 0 or self.landmarks.shape != (length, 478, 3):
            raise ValueError(f"landmarks have shape {self.landmarks.shape}, wanted ({length}, 478, 3), not empty")
        if self.blendshapes.shape != (length, 52) or self.seen.shape != (length,):
            raise ValueError("blendshapes and seen must have one row per box")
        _freeze(self.boxes, self.landmarks, self.blendshapes, self.seen, self.thumbnail, self.covered)

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class MouthCrops:
    """Aligned grey mouth crops of a track."""

    start: int
    frames: np.ndarray  # (T, 96, 96) uint8


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Embeddings of video and audio of a track, one row per frame each, without time warping."""

    start: int
    lips: np.ndarray  # (T, D) float32, unit rows
    speech: np.ndarray  # (T, D) float32, unit rows
    lips_weight: np.ndarray  # (T,) float32 > 0: weight, from the video only
    speech_weight: np.ndarray  # (T,) float32 > 0: weight, from the audio only

    def __post_init__(self) -> None:
        if self.lips.shape != self.speech.shape or self.lips_weight.shape != self.speech_weight.shape:
            raise ValueError(f"lips {self.lips.shape} and speech {self.speech.shape} differ in shape")


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Frames of a track that count on each side: no mean, comparison or window includes the others."""

    lips: np.ndarray  # (T,) bool: the frame shows a filmed face
    speech: np.ndarray  # (T,) bool: the sound of the frame is recorded, and speech is near

    @classmethod
    def both(cls, mask: np.ndarray) -> "Evidence":
        """Use one mask (T,) bool for both sides."""
        return cls(mask, mask)


@dataclass(frozen=True, slots=True, eq=False)
class SyncCurve:
    """Similarity of video and audio over the audio offset."""

    offsets_s: Annotated[np.ndarray, ArrayField(np.float32, 3)]  # (2K+1,) float32; positive: audio is late
    similarity: Annotated[np.ndarray, ArrayField(np.float32, 6)]  # (2K+1,) float32, mean over real pairs
    pairs: Annotated[np.ndarray, ArrayField(np.int64)]  # (2K+1,) int, number of frame pairs behind each value


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One segment of the timeline."""

    start_s: Seconds
    end_s: Seconds
    score: Score  # at its own best offset
    offset_s: Seconds
    track_score: Score | None = None  # at the offset of the track; None: too few pairs, or a report of earlier versions


class SpanKind(StrEnum):
    """Kind of a span; only a calibration decides the first two."""

    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    UNDECIDABLE = "undecidable"


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A part of a track and whether its voice belongs to the face, at the AV offset of the track.

    Each border is within its range; 9 of 10 borders of known edits are.
    """

    start_s: Seconds
    end_s: Seconds
    start_range_s: tuple[Seconds, Seconds]
    end_range_s: tuple[Seconds, Seconds]
    kind: SpanKind
    speech_s: Seconds  # seconds with speech and a visible mouth
    score: Score | None  # see `consistency.spans.score_frames`; None: too little evidence
    llr: Score | None  # log10 likelihood ratio within the bounds of the calibration of spans


@dataclass(frozen=True, slots=True, eq=False)
class SecondOpinion:
    """Score of a second model for the same face and voice, on its own scale."""

    model: Model
    recipe: str
    score: Score
    offset_s: Seconds  # positive: audio is late
    clarity: Annotated[float, Rounded(3)]  # z-score of the peak of this model's curve
    first_clarity: Annotated[float, Rounded(3)]  # of the first model's curve
    agrees: bool
    text: str  # explanation
    curve: SyncCurve


@dataclass(frozen=True, slots=True, eq=False)
class DynamicEmbedding:
    """Embedding of the speaking style from the motion of one face."""

    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; never logged
    seconds: float  # duration of the face track used
    spread: float  # of its windows around the vector: 0 if they are equal
    recipe: str  # embeddings of two recipes are not comparable
    n_windows: int  # averaged in the vector
    evidence: float  # log-odds that the motion is natural, mean over the windows
    is_natural: bool  # False: probably manipulated, and not usable for identification

    def __post_init__(self) -> None:
        if self.vector.ndim != 1 or self.vector.dtype != np.float32:
            raise ValueError(f"vector is {self.vector.dtype} of shape {self.vector.shape}, wanted float32 (D,)")
        norm = float(np.linalg.norm(self.vector.astype(np.float64)))
        if not abs(norm - 1) <= 1e-5:  # NaN fails too
            raise ValueError(f"vector has the length {norm}, wanted 1")
        if not (np.isfinite(self.seconds) and self.seconds > 0 and np.isfinite(self.spread) and self.spread >= 0):
            raise ValueError(f"of {self.seconds} s with spread {self.spread}: wanted finite numbers, seconds above 0")
        if not (self.n_windows > 0 and np.isfinite(self.evidence)):
            raise ValueError(f"{self.n_windows} windows with the evidence {self.evidence}: wanted 1 at least, finite")
        _freeze(self.vector)


@dataclass(frozen=True, slots=True)
class CalibrationNote:
    """Calibration record of a likelihood ratio: author, approver, LR bounds and zone limits."""

    id: str  # SHA-256 of the record
    version: str
    author: str
    approver: str
    bounds_llr: tuple[Score, Score]  # reported log10 likelihood ratios are within these bounds
    supported_llr: Score  # limits of the zones
    against_llr: Score


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConsistencyReport:
    """Audio-visual consistency of one face with the speech."""

    status: Status
    reasons: tuple[Reason, ...]
    score: Score | None  # higher is more consistent; None exactly when NOT_EVALUATED
    offset_s: Seconds | None  # positive: audio is late
    dynamic_score: Score | None  # score along a path of slowly changing offset; None in paper mode
    drift_s: Seconds | None  # last minus first offset of that path; None in paper mode
    llr: Score | None  # log10 likelihood ratio within the LR bounds; None if not applicable
    calibration: CalibrationNote | None = None  # None: no calibration of this recipe, the score is raw
    zone: str | None = None  # `calibration.verbal_scale.Zone`: supported, inconclusive or against; None if uncalibrated
    band: str | None = None  # `calibration.verbal_scale.Band`: ENFSI verbal scale of `llr`; None if uncalibrated
    p_value: Score | None = (
        None  # probability of a score this low for a real clip of this length; None without real clips
    )
    smallest_p: Score | None = None  # smallest possible p-value for this length
    high_p_value: Score | None = None  # probability of a score this high for a real clip of this length
    speech_s: Seconds  # seconds with speech and a visible mouth in a moving picture
    windows: tuple[Window, ...]
    curve: SyncCurve | None
    second: SecondOpinion | None = None  # None if not requested or not scored
    spans: tuple[Span, ...] = ()  # of the whole track; none without `span_calibration`
    span_calibration: CalibrationNote | None = None  # None: no calibration of spans of this recipe

    def __post_init__(self) -> None:
        if (self.score is None) != (self.status in (Status.NOT_EVALUATED, Status.FAILED)):
            raise ValueError(f"status {self.status} with score {self.score}")
        if self.calibration is None and (self.llr, self.zone, self.band, self.p_value) != (None, None, None, None):
            raise ValueError("a likelihood ratio, a zone or a p-value without a calibration")
        if self.score is None and self.calibration is not None:
            raise ValueError("a calibration without a score")
        if self.spans and self.span_calibration is None:
            raise ValueError("spans without a calibration of spans")


@dataclass(frozen=True, slots=True, eq=False)
class TrackReport:
    """Result of one face track."""

    id: int
    start_s: Seconds
    end_s: Seconds
    face_px: Annotated[float, Rounded(1)]  # median face width in pixels
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB; not in JSON
    consistency: ConsistencyReport
    channel: str | None = None  # audio channel that this face was judged with, where each was judged; else None
    same_as: int | None = None  # id of a face seen at the same time with the same motion: one person, shown twice


@dataclass(frozen=True, slots=True, eq=False)
class SpeakerReport:
    """Result of several tracks taken for one face, compared with the sound as one, at one common offset."""

    tracks: tuple[int, ...]  # their ids
    consistency: ConsistencyReport


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Analysis:
    """Result of one file."""

    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}  # thumbnails

    name: str
    sha256: str
    duration_s: Seconds
    size_px: tuple[int, int]
    source_fps: Annotated[float, Rounded(3)]
    status: Status
    reasons: tuple[Reason, ...]
    recipe: str  # weights and all options that change a result
    model: Model = Model.COMPACT
    mode: Mode = Mode.STRICT
    timings_s: dict[str, Seconds]
    tracks: tuple[TrackReport, ...]
    media: MediaReport = field(default_factory=MediaReport)
    speakers: tuple[SpeakerReport, ...] = ()
