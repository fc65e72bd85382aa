"""The records that travel between the stages. Importing them imports no torch.

Letters: `T` frames at 25 Hz, `N` samples at 16 kHz, `D` feature size, `K` half the offset search.
All times are seconds on the media clock, whose zero is the first video frame's presentation time.

`Analysis` and what it holds are also the report: `engine/reports/json.py` writes and reads JSON by these fields, in
this order. A new field of a report is a line here, its value in `engine/pipeline.py`, and where people see it a line
of a view; a default keeps reports of earlier versions readable.
"""

from collections.abc import Callable, Iterator
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
"""`on_step(name, completed, total)`: the one hook of the engine; total 0 means not known."""


class Status(StrEnum):
    """How far a question could be answered."""

    EVALUATED = "EVALUATED"
    LIMITED = "LIMITED"
    NOT_EVALUATED = "NOT_EVALUATED"
    FAILED = "FAILED"


class Model(StrEnum):
    """Consistency models: one row each in `engine/consistency/model_specs.py`; the recipe names the weights."""

    COMPACT = "compact"
    AVHUBERT_BASE = "avhubert-base"
    AVHUBERT_LARGE = "avhubert-large"


class Mode(StrEnum):
    """How features become a score."""

    STRICT = "strict"  # by time: real pairs only, every face, long clips in windows
    PAPER = "paper"  # SpeechForensics to the letter: one face, one score, `engine/consistency/speechforensics.py`


class Reason(StrEnum):
    """Why a result is limited or absent: code, text of the page, what to do next, and whether it bars a ratio.

    The rule behind each stands in `engine/consistency/gates.py`.
    """

    text: str  # a key of the catalogues, as the next step is
    next_step: str
    bars_llr: bool  # no trial behind a calibration was like this, so that it can say nothing

    def __new__(cls, code: str, text: str = "", next_step: str = "", bars_llr: bool = False) -> "Reason":
        """Make a member equal to its code, by which alone `Reason(code)` finds it."""
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
        "too little speech while the face is seen: 4 s are needed, 10 s for a full answer",
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
    UNCALIBRATED = (
        "UNCALIBRATED",
        "the score is not calibrated",
        "Compare scores of one recipe only, and wait for a calibration before drawing conclusions.",
    )


def _freeze(*arrays: np.ndarray) -> None:
    for array in arrays:
        array.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture on the 25 Hz clock."""

    index: int
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright (rotation metadata applied)
    is_new: bool  # False: the source had no newer picture for this time, the last one is held


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A media file on one clock: sample 0 is the time of frame 0; frames are streamed, never all held."""

    path: Path
    sha256: str
    duration_s: float  # of the picture, n_frames / 25
    n_frames: int  # at 25 Hz
    size_px: tuple[int, int]  # width, height, upright
    source_fps: float  # mean of the source
    has_audio: bool
    audio: np.ndarray  # (N,) float32 in [-1, 1], 16 kHz mono, N == 640 * n_frames
    audio_present: np.ndarray  # (T,) bool: the file has sound for the whole of this frame
    reasons: tuple[Reason, ...]  # what reading the container found: FPS_VFR, TRUNCATED
    read_frames: Callable[[], Iterator[Frame]]  # each call streams all n_frames frames anew

    def __post_init__(self) -> None:
        if self.audio.shape != (self.n_frames * SAMPLES_PER_FRAME,):
            raise ValueError(f"audio has shape {self.audio.shape}, wanted ({self.n_frames * SAMPLES_PER_FRAME},)")
        if self.audio_present.shape != (self.n_frames,):
            raise ValueError(f"audio_present has shape {self.audio_present.shape}, wanted ({self.n_frames},)")
        _freeze(self.audio, self.audio_present)


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One face through one shot."""

    start: int  # frame number of row 0
    boxes: np.ndarray  # (T, 4) float32, pixels, x0 y0 x1 y1 around the landmarks
    landmarks: np.ndarray  # (T, 478, 3) float32, pixels; z on the scale of x, smaller is nearer
    blendshapes: np.ndarray  # (T, 52) float32 in [0, 1], the order of `faces.BLENDSHAPES`
    seen: np.ndarray  # (T,) bool: False means interpolated over a short gap
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB, the largest seen face

    def __post_init__(self) -> None:
        length = len(self.boxes)
        if length == 0 or self.landmarks.shape != (length, 478, 3):
            raise ValueError(f"landmarks have shape {self.landmarks.shape}, wanted ({length}, 478, 3), not empty")
        if self.blendshapes.shape != (length, 52) or self.seen.shape != (length,):
            raise ValueError("blendshapes and seen must have one row per box")
        _freeze(self.boxes, self.landmarks, self.blendshapes, self.seen, self.thumbnail)

    @property
    def end(self) -> int:
        """Frame number after the last row."""
        return self.start + len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class MouthCrops:
    """Aligned grey mouths of a track."""

    start: int
    frames: np.ndarray  # (T, 96, 96) uint8


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Face and voice of a track in one space, frame by frame; neither is ever stretched to the other."""

    start: int
    lips: np.ndarray  # (T, D) float32, unit rows
    speech: np.ndarray  # (T, D) float32, unit rows
    lips_weight: np.ndarray  # (T,) float32 > 0: how much there is to compare, told from the face alone
    speech_weight: np.ndarray  # (T,) float32 > 0: the same, told from the voice alone

    def __post_init__(self) -> None:
        if self.lips.shape != self.speech.shape or self.lips_weight.shape != self.speech_weight.shape:
            raise ValueError(f"lips {self.lips.shape} and speech {self.speech.shape} are not of one clock")


@dataclass(frozen=True, slots=True, eq=False)
class SyncCurve:
    """Similarity of face and voice over the offset of the voice."""

    offsets_s: Annotated[np.ndarray, ArrayField(np.float32, 3)]  # (2K+1,) float32; positive: the sound comes late
    similarity: Annotated[np.ndarray, ArrayField(np.float32, 6)]  # (2K+1,) float32, mean over the real pairs alone
    pairs: Annotated[np.ndarray, ArrayField(np.int64)]  # (2K+1,) int, number of frame pairs behind each value


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One step of the timeline."""

    start_s: Seconds
    end_s: Seconds
    score: Score
    offset_s: Seconds


@dataclass(frozen=True, slots=True, eq=False)
class SecondOpinion:
    """What another model says of the same face and voice; the two scores are on scales of their own."""

    model: Model
    recipe: str
    score: Score
    offset_s: Seconds  # positive: the sound comes late
    clarity: Annotated[float, Rounded(3)]  # of its own curve, see `offsets.measure_prominence`
    first_clarity: Annotated[float, Rounded(3)]  # of the first model's curve
    agrees: bool
    text: str  # why
    curve: SyncCurve


@dataclass(frozen=True, slots=True, eq=False)
class DynamicEmbedding:
    """How a person speaks, told from the motion of one face."""

    vector: np.ndarray = field(repr=False)  # (D,) float32, unit length; in no log
    seconds: float  # of the face that went in
    spread: float  # of its windows around the vector: 0 where they all say the same
    recipe: str  # embeddings of two recipes are never compared
    n_windows: int  # behind the vector
    evidence: float  # log-odds that the motion is natural, mean over the windows
    is_natural: bool  # False: it was tampered with, as far as that can be told, and names nobody

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
    """The calibration record behind a likelihood ratio: who stands for it, how far it goes, where its zones begin."""

    id: str  # SHA-256 of the record
    version: str
    author: str
    approver: str
    bounds_llr: tuple[Score, Score]  # no log10 likelihood ratio beyond these two is ever told
    supported_llr: Score  # zones begin at these two
    against_llr: Score


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ConsistencyReport:
    """Do this face and this voice belong to the same speech?"""

    status: Status
    reasons: tuple[Reason, ...]
    score: Score | None  # higher is more consistent; None exactly when NOT_EVALUATED
    offset_s: Seconds | None  # positive: the sound comes late
    dynamic_score: Score | None  # the same, along one path of slowly changing offset; None in paper mode
    drift_s: Seconds | None  # last minus first offset of that path; None in paper mode
    llr: Score | None  # log10 likelihood ratio, within the calibration's bounds; None where nothing may be said
    calibration: CalibrationNote | None = None  # None: none of this recipe is in force, the score is raw
    zone: str | None = None  # `calibration.bands.Zone`: supported, inconclusive or against; None without a calibration
    band: str | None = None  # `calibration.bands.Band`, the ENFSI words for the strength of `llr`; None without one
    p_value: Score | None = None  # chance of so low a score from a real clip of this length; None without real clips
    smallest_p: Score | None = None  # no clip of this length can be told to be stranger
    speech_s: Seconds  # seconds in which speech is heard and the face is seen
    windows: tuple[Window, ...]
    curve: SyncCurve | None
    second: SecondOpinion | None = None  # None where none was asked for, or nothing was scored

    def __post_init__(self) -> None:
        if (self.score is None) != (self.status in (Status.NOT_EVALUATED, Status.FAILED)):
            raise ValueError(f"status {self.status} with score {self.score}")
        if self.calibration is None and (self.llr, self.zone, self.band, self.p_value) != (None, None, None, None):
            raise ValueError("a likelihood ratio, a zone or a p-value without the calibration that tells it")
        if self.score is None and self.calibration is not None:
            raise ValueError("a calibration without a score")


@dataclass(frozen=True, slots=True, eq=False)
class TrackReport:
    """All that is said of one face track."""

    id: int
    start_s: Seconds
    end_s: Seconds
    face_px: Annotated[float, Rounded(1)]  # median face width in pixels
    thumbnail: np.ndarray  # (96, 96, 3) uint8 RGB; in no JSON
    consistency: ConsistencyReport


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Analysis:
    """What the page shows, the command line prints and a notebook tabulates."""

    __pydantic_config__: ClassVar[dict[str, bool]] = {"arbitrary_types_allowed": True}  # thumbnails

    name: str
    sha256: str
    duration_s: Seconds
    size_px: tuple[int, int]
    source_fps: Annotated[float, Rounded(3)]
    status: Status
    reasons: tuple[Reason, ...]
    recipe: str  # weights and every option that changes a result
    model: Model = Model.COMPACT
    mode: Mode = Mode.STRICT
    timings_s: dict[str, Seconds]
    tracks: tuple[TrackReport, ...]
