"""Lip closure and rounding at the phonemes that require them: evidence for review, not a verdict.

m, b and p close the lips; w, r and the rounded vowels make the mouth narrower (Jeffers & Barley 1971, "Speechreading":
the classes that lip readers distinguish). The reference is the same face: closed is a fraction of the widest opening
within a quarter of a second, narrow is below a quantile of the width. Random moments pass such a test often, so each
count comes with the miss rate of the same lips at all other times of the speech.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import numpy as np
from scipy.ndimage import maximum_filter1d

from engine.faces.landmark_features import LIPS
from engine.json_fields import Rounded
from engine.speech.phonemes import Sound
from engine.types import FPS, OnStep, Seconds

if TYPE_CHECKING:  # reports are read where there is no torch
    from engine.features.records import FaceFeatures
    from engine.speech.phonemes import SoundRecogniser

CORNERS = (LIPS.index(61), LIPS.index(291))
"""Rows of the mouth corners in `landmark_features.LIPS`."""
CLOSING = frozenset("M B P".split())
ROUNDING = frozenset("W UW UH OW AO OY R ER".split())
EXAMPLES = {
    **{"M": "m (my)", "B": "b (by)", "P": "p (pie)", "W": "w (we)", "R": "r (red)", "UW": "oo (food)"},
    **{"UH": "oo (book)", "OW": "o (go)", "AO": "aw (law)", "OY": "oy (boy)", "ER": "er (bird)"},
}
"""Each ARPAbet name as a letter and an example word."""
MIN_FRAMES = FPS  # of a track; fewer are no reference for open and narrow
COVERAGE = 0.95
Share = Annotated[float, Rounded(4)]


class Gesture(StrEnum):
    """Lip gesture that a phoneme requires."""

    CLOSED = "closed"
    ROUNDED = "rounded"


class ClosureOutcome(StrEnum):
    """Outcome of one gesture."""

    MADE = "made"
    MISSED = "missed"
    UNSEEN = "not seen"  # frames without landmarks, and no gesture in the others


@dataclass(frozen=True, slots=True)
class ArticulationOptions:
    """Thresholds of closed and rounded."""

    closed_share: float = 0.2  # closed below this share of the widest gap within +-`around_s`
    closed_gap: float = 0.01  # always closed below this share of the eye distance
    around_s: float = 0.24
    narrow_share: float = 0.3  # quantile of the width below which the mouth is rounded
    tolerance_s: float = 0.02  # before and after the phoneme


@dataclass(frozen=True, slots=True)
class Articulation:
    """One phoneme that requires a lip gesture, and its outcome."""

    sound: str  # ARPAbet: M, B, P, W, UW ...
    start_s: Seconds
    end_s: Seconds
    wanted: Gesture
    measured: Share | None  # least gap or mouth width over the eye distance; None without landmarks
    outcome: ClosureOutcome
    by_chance: Share  # miss rate of the same lips for this length at other times of the speech


@dataclass(frozen=True, slots=True)
class Tally:
    """Count of missed gestures among the visible ones."""

    n: int
    n_missed: int
    n_unseen: int  # in addition to n
    share: Share | None  # missed; None where none was visible
    ci: tuple[Share, Share] | None  # 95 % Wilson (1927) interval of the share, phonemes taken as independent
    by_chance: Share | None  # share expected at other times of the speech


@dataclass(frozen=True, slots=True)
class ArticulationReport:
    """Outcomes of one face at every phoneme that requires a gesture, in order."""

    language: str
    start_s: Seconds  # of the analysed segment
    end_s: Seconds
    sounds: tuple[Articulation, ...]

    @property
    def closed(self) -> Tally:
        """Count the phonemes that close the lips: m, b, p."""
        return count(one for one in self.sounds if one.wanted == Gesture.CLOSED)

    @property
    def rounded(self) -> Tally:
        """Count the phonemes that round the lips."""
        return count(one for one in self.sounds if one.wanted == Gesture.ROUNDED)

    @property
    def both(self) -> Tally:
        """Count all phonemes."""
        return count(self.sounds)


@dataclass(frozen=True, slots=True, eq=False)
class _Lips:
    """One gesture per frame of a track, and the measurement behind it."""

    does: np.ndarray  # (T,) bool
    value: np.ndarray  # (T,) float


def check_faces(
    recogniser: "SoundRecogniser",
    audio: np.ndarray,
    voiced: np.ndarray,
    tracks: Sequence["FaceFeatures"],
    span_s: tuple[float, float] | None = None,
    on_step: OnStep = lambda name, completed, total: None,
) -> tuple[ArticulationReport, ...]:
    """Recognise phonemes while a face is visible and check each face against them; one report per face, in order.

    `audio` (640 T,) float32 at 16 kHz and `voiced` (T,) bool belong to the clip; `span_s` restricts the analysis.
    """
    first, last = span_s or (0.0, np.inf)
    wanted = np.zeros(len(voiced), bool)
    for track in tracks:
        wanted[track.start : track.end] = True
    times_s = np.arange(len(voiced)) / FPS
    sounds = recogniser.recognise(audio, voiced & wanted & (times_s >= first) & (times_s < last), on_step)
    return tuple(check_lips(track, sounds, voiced, span_s, recogniser.language) for track in tracks)


def check_lips(
    track: "FaceFeatures",
    sounds: Sequence[Sound],
    voiced: np.ndarray,
    span_s: tuple[float, float] | None = None,
    language: str = "en",
    options: ArticulationOptions = ArticulationOptions(),
) -> ArticulationReport:
    """Check the lips of a face at each phoneme within its track.

    `voiced` (T of the clip,) bool: the expected miss rate counts these frames only. `span_s` keeps the phonemes within
    it; the references for closed and narrow come from the whole track.
    """
    first, last = span_s or (0.0, np.inf)
    start_s, end_s = max(first, track.start / FPS), min(last, track.end / FPS)
    lips = {Gesture.CLOSED: _find_closed(track, options), Gesture.ROUNDED: _find_narrow(track, options)}
    spoken = np.zeros(len(track.clear), bool)
    voiced = voiced[track.start : track.end]
    spoken[: len(voiced)] = voiced
    found = [
        _check(track, sound, gesture, lips[gesture], spoken, options)
        for sound in sounds
        if (gesture := find_gesture(sound)) is not None and start_s <= sound.start_s and sound.end_s <= end_s
    ]
    return ArticulationReport(language, start_s, max(start_s, end_s), tuple(found))


def move_report(report: ArticulationReport, by_s: float) -> ArticulationReport:
    """Add to the times of a report: of a part of a recording they are counted from its start."""
    sounds = tuple(replace(one, start_s=one.start_s + by_s, end_s=one.end_s + by_s) for one in report.sounds)
    return replace(report, start_s=report.start_s + by_s, end_s=report.end_s + by_s, sounds=sounds)


def find_gesture(sound: Sound) -> Gesture | None:
    """Return the gesture that a phoneme requires; None where its absence would not be visible."""
    if sound.name in CLOSING:
        return Gesture.CLOSED
    return Gesture.ROUNDED if sound.name in ROUNDING else None


def count(articulations: Iterable[Articulation]) -> Tally:
    """Count outcomes."""
    from scipy.stats import binomtest  # here: slow to import, and most pages need no counts

    listed = list(articulations)
    seen = [one for one in listed if one.outcome != ClosureOutcome.UNSEEN]
    n_missed = sum(one.outcome == ClosureOutcome.MISSED for one in seen)
    if not seen:
        return Tally(0, 0, len(listed), None, None, None)
    interval = binomtest(n_missed, len(seen)).proportion_ci(COVERAGE, method="wilson")
    return Tally(
        n=len(seen),
        n_missed=n_missed,
        n_unseen=len(listed) - len(seen),
        share=n_missed / len(seen),
        ci=(float(interval.low), float(interval.high)),
        by_chance=float(np.mean([one.by_chance for one in seen])),
    )


def _find_closed(track: "FaceFeatures", options: ArticulationOptions) -> _Lips:
    gap = track.gap.astype(np.float64)
    widest = maximum_filter1d(gap, 2 * round(options.around_s * FPS) + 1)
    return _Lips((gap < options.closed_share * widest) | (gap < options.closed_gap), gap)


def _find_narrow(track: "FaceFeatures", options: ArticulationOptions) -> _Lips:
    points = track.lips[:, : 2 * len(LIPS)].astype(np.float64).reshape(len(track.lips), -1, 2)
    width = np.linalg.norm(points[:, CORNERS[0]] - points[:, CORNERS[1]], axis=1)
    usual = width[track.clear] if track.clear.any() else width
    return _Lips(width < np.quantile(usual, options.narrow_share), width)


def _check(
    track: "FaceFeatures", sound: Sound, gesture: Gesture, lips: _Lips, spoken: np.ndarray, options: ArticulationOptions
) -> Articulation:
    begin = int(np.floor((sound.start_s - options.tolerance_s) * FPS + 0.5)) - track.start
    end = max(int(np.ceil((sound.end_s + options.tolerance_s) * FPS - 0.5)) - track.start, begin + 1)
    span = slice(max(begin, 0), min(end, len(lips.does)))
    seen = track.clear[span]
    outcome = _judge(lips.does[span], seen, whole=len(seen) == end - begin, usable=track.clear.sum() >= MIN_FRAMES)
    measured = float(lips.value[span][seen].min()) if seen.any() else None
    by_chance = _miss_by_chance(lips.does, track.clear, spoken, end - begin)
    return Articulation(sound.name, sound.start_s, sound.end_s, gesture, measured, outcome, by_chance)


def _judge(does: np.ndarray, seen: np.ndarray, whole: bool, usable: bool) -> ClosureOutcome:
    """Return MADE where any frame shows the gesture, MISSED only where every frame has landmarks."""
    if usable and (does & seen).any():
        return ClosureOutcome.MADE
    return ClosureOutcome.MISSED if usable and whole and seen.all() else ClosureOutcome.UNSEEN


def _miss_by_chance(does: np.ndarray, seen: np.ndarray, spoken: np.ndarray, length: int) -> float:
    """Share of the segments of this length, within landmarks and speech, without the gesture.

    Of all segments with landmarks where speech has none; 1 where there is none at all.
    """
    if length > len(does):
        return 1.0
    spans = np.lib.stride_tricks.sliding_window_view(np.stack([~does, seen, spoken]), length, axis=1)
    missed, measured, in_speech = (row.all(axis=1) for row in spans)
    usable = measured & in_speech if (measured & in_speech).any() else measured
    return float(missed[usable].mean()) if usable.any() else 1.0
