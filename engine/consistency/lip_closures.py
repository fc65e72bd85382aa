"""What the lips do while speech sounds are heard that should close or round them: evidence to look at, no verdict.

m, b and p close the lips; w, r and the rounded vowels make the mouth narrower (Jeffers & Barley 1971, "Speechreading",
whose classes are what lip readers tell apart). Lips are judged against the same face: closed is a fraction of how far
they open within a quarter of a second, narrow is narrower than most of the time. Random moments pass such a test often,
so each count stands beside the one that the same lips would give to sounds heard at any other time of the speech.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
"""Rows of the corners of the mouth among the points of `lips.describe_lips`."""
CLOSING = frozenset("M B P".split())
ROUNDING = frozenset("W UW UH OW AO OY R ER".split())
EXAMPLES = {
    **{"M": "m (my)", "B": "b (by)", "P": "p (pie)", "W": "w (we)", "R": "r (red)", "UW": "oo (food)"},
    **{"UH": "oo (book)", "OW": "o (go)", "AO": "aw (law)", "OY": "oy (boy)", "ER": "er (bird)"},
}
"""What each of these sounds is, for who does not read ARPAbet."""
MIN_FRAMES = FPS  # a face that is measured in fewer has no own measure of open and narrow
COVERAGE = 0.95
Share = Annotated[float, Rounded(4)]


class Gesture(StrEnum):
    """What a sound asks of the lips."""

    CLOSED = "closed"
    ROUNDED = "rounded"


class ClosureOutcome(StrEnum):
    """Whether the lips did it."""

    MADE = "made"
    MISSED = "missed"
    UNSEEN = "not seen"  # the face is not measured throughout, and where it is, the lips did not do it


@dataclass(frozen=True, slots=True)
class ArticulationOptions:
    """What counts as closed and as rounded."""

    closed_share: float = 0.2  # of the widest gap within `around_s` before and after: less is closed
    closed_gap: float = 0.01  # of the distance of the eyes: less is closed whatever is around it
    around_s: float = 0.24
    narrow_share: float = 0.3  # of the measured time: the narrowest so much is rounded
    tolerance_s: float = 0.02  # before a sound begins and after it ends


@dataclass(frozen=True, slots=True)
class Articulation:
    """One sound that should move the lips, and what they did."""

    sound: str  # ARPAbet: M, B, P, W, UW ...
    start_s: Seconds
    end_s: Seconds
    wanted: Gesture
    measured: Share | None  # least gap, or width of the mouth, over the distance of the eyes; None: nothing was seen
    outcome: ClosureOutcome
    by_chance: Share  # how often the same lips miss a sound as long as this at another time of the speech


@dataclass(frozen=True, slots=True)
class Tally:
    """How many sounds of a kind the lips missed, of those that could be seen."""

    n: int
    n_missed: int
    n_unseen: int  # in addition to n
    share: Share | None  # missed; None where nothing could be seen
    ci: tuple[Share, Share] | None  # 95 % of that share (Wilson 1927), sounds taken as independent
    by_chance: Share | None  # the share that would be missed if the sounds came at any other time


@dataclass(frozen=True, slots=True)
class ArticulationReport:
    """One face against the sounds that are heard: every one that should move the lips, in order."""

    language: str
    start_s: Seconds  # what was looked at
    end_s: Seconds
    sounds: tuple[Articulation, ...]

    @property
    def closed(self) -> Tally:
        """Sounds that close the lips: m, b, p."""
        return count(one for one in self.sounds if one.wanted == Gesture.CLOSED)

    @property
    def rounded(self) -> Tally:
        """Sounds that round them."""
        return count(one for one in self.sounds if one.wanted == Gesture.ROUNDED)

    @property
    def both(self) -> Tally:
        """All of them."""
        return count(self.sounds)


@dataclass(frozen=True, slots=True, eq=False)
class _Lips:
    """Frame by frame of one track: whether the lips do it, and by what number that was told."""

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
    """Recognise what is said while a face is there, and hold each face against it; one report a face, in order.

    `audio` (640 T,) float32 at 16 kHz and `voiced` (T,) bool are the clip's; `span_s` looks at a part of it alone.
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
    """Hold a face against the sounds that are heard while it is there.

    `voiced` (T of the clip,) bool says where somebody speaks: chance is counted there alone. `span_s` keeps the sounds
    within it; what is closed and narrow for this face is told from all of its track.
    """
    first, last = span_s or (0.0, np.inf)
    start_s, end_s = max(first, track.start / FPS), min(last, track.end / FPS)
    lips = {Gesture.CLOSED: _find_closed(track, options), Gesture.ROUNDED: _find_narrow(track, options)}
    heard = np.zeros(len(track.seen), bool)
    spoken = voiced[track.start : track.end]
    heard[: len(spoken)] = spoken
    found = [
        _check(track, sound, gesture, lips[gesture], heard, options)
        for sound in sounds
        if (gesture := find_gesture(sound)) is not None and start_s <= sound.start_s and sound.end_s <= end_s
    ]
    return ArticulationReport(language, start_s, max(start_s, end_s), tuple(found))


def find_gesture(sound: Sound) -> Gesture | None:
    """Tell what a sound asks of the lips; None where it is nothing that could be seen missing."""
    if sound.name in CLOSING:
        return Gesture.CLOSED
    return Gesture.ROUNDED if sound.name in ROUNDING else None


def count(articulations: Iterable[Articulation]) -> Tally:
    """Sum sounds up."""
    from scipy.stats import binomtest  # here: it takes long to import, and most pages count nothing

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
    usual = width[track.seen] if track.seen.any() else width
    return _Lips(width < np.quantile(usual, options.narrow_share), width)


def _check(
    track: "FaceFeatures", sound: Sound, gesture: Gesture, lips: _Lips, heard: np.ndarray, options: ArticulationOptions
) -> Articulation:
    begin = int(np.floor((sound.start_s - options.tolerance_s) * FPS + 0.5)) - track.start
    end = max(int(np.ceil((sound.end_s + options.tolerance_s) * FPS - 0.5)) - track.start, begin + 1)
    span = slice(max(begin, 0), min(end, len(lips.does)))
    seen = track.seen[span]
    outcome = _judge(lips.does[span], seen, whole=len(seen) == end - begin, usable=track.seen.sum() >= MIN_FRAMES)
    measured = float(lips.value[span][seen].min()) if seen.any() else None
    by_chance = _miss_by_chance(lips.does, track.seen, heard, end - begin)
    return Articulation(sound.name, sound.start_s, sound.end_s, gesture, measured, outcome, by_chance)


def _judge(does: np.ndarray, seen: np.ndarray, whole: bool, usable: bool) -> ClosureOutcome:
    """A gesture that any measured picture shows was made; one is missed only where every picture was measured."""
    if usable and (does & seen).any():
        return ClosureOutcome.MADE
    return ClosureOutcome.MISSED if usable and whole and seen.all() else ClosureOutcome.UNSEEN


def _miss_by_chance(does: np.ndarray, seen: np.ndarray, heard: np.ndarray, length: int) -> float:
    """Share of all spans of this length, measured and in speech throughout, in which the lips do not do it.

    Where there is none, of all that are measured; 1 where there is none of these either.
    """
    if length > len(does):
        return 1.0
    spans = np.lib.stride_tricks.sliding_window_view(np.stack([~does, seen, heard]), length, axis=1)
    missed, measured, spoken = (row.all(axis=1) for row in spans)
    usable = measured & spoken if (measured & spoken).any() else measured
    return float(missed[usable].mean()) if usable.any() else 1.0
