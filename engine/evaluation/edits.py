"""Evaluate spans on edits with known borders: which are found, and how often genuine speech has a false span."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from engine.calibration.records import Calibration
from engine.consistency.offsets import measure_consistency
from engine.consistency.scorers import ConsistencyScorer
from engine.evaluation.results import Share, share_with_interval
from engine.evaluation.span_trials import MIN_REST_S, MIN_VOICED, TRIES, mark_speech, replace_sound
from engine.evaluation.trials import TrialClip
from engine.span_reports import SpeechFrames, judge_spans
from engine.types import FPS, Span, SpanKind

LENGTHS_S = (1.0, 2.0, 3.0, 5.0)
FADED_STEPS = 20  # of 10 ms, at either end of a faded edit
MIN_OVERLAP = 0.5  # intersection over union of a span and the edit that it finds


class EditKind(StrEnum):
    """What replaces the own voice."""

    OTHER = "another person"
    FADED = "another person, faded"
    SAME = "another part of the recording"
    SYNTHETIC = "synthetic speech"


@dataclass(frozen=True, slots=True)
class Ratios:
    """Calibrations of whole tracks and of spans."""

    of_tracks: Calibration
    of_spans: Calibration


@dataclass(frozen=True, slots=True)
class EditResult:
    """One edit: its kind and length, and whether an inconsistent span covers it."""

    person: str
    kind: EditKind
    length_s: float
    rest_s: float
    found: bool
    borders_within: tuple[bool, ...]  # of a found edit, away from the ends of the clip: within the range of the span


@dataclass(frozen=True, slots=True)
class GenuineResult:
    """One unedited clip."""

    person: str
    name: str
    seconds: float
    false_spans: tuple[tuple[float, float], ...]


def judge_clip(clip: TrialClip, scorer: ConsistencyScorer, ratios: Ratios) -> tuple[Span, ...]:
    """Return the spans of a clip as an analysis does, without gates; () where too few frames can be paired."""
    measured = measure_consistency(clip.encoded, clip.evidence, scorer.options)
    if measured is None or clip.gap is None:
        return ()
    speech = SpeechFrames(mark_speech(clip), clip.gap, clip.face_px, 0.0)
    return judge_spans(measured, speech, ratios.of_tracks, ratios.of_spans)


def judge_genuine(clip: TrialClip, scorer: ConsistencyScorer, ratios: Ratios) -> GenuineResult:
    """Count the inconsistent spans of an unedited clip."""
    found = tuple((one.start_s, one.end_s) for one in _keep_inconsistent(judge_clip(clip, scorer, ratios)))
    return GenuineResult(clip.group, clip.name, len(clip) / FPS, found)


def judge_edit(edited: TrialClip, here: slice, kind: EditKind, spans: Sequence[Span]) -> EditResult:
    """Compare the spans of an edited clip with the edit."""
    edit = here.start / FPS, here.stop / FPS
    best = max(_keep_inconsistent(spans), key=lambda one: find_overlap((one.start_s, one.end_s), edit), default=None)
    found = best is not None and find_overlap((best.start_s, best.end_s), edit) >= MIN_OVERLAP
    length, within = len(edited) / FPS, tuple[bool, ...]()
    if best is not None and found:
        borders = ((edit[0], best.start_range_s), (edit[1], best.end_range_s))
        within = tuple(low <= at <= high for at, (low, high) in borders if 0 < at < length)
    return EditResult(edited.group, kind, edit[1] - edit[0], length - edit[1] + edit[0], found, within)


def draw_edits(
    clip: TrialClip,
    others: Sequence[TrialClip],
    synthesise: Callable[[int], TrialClip],
    scorer: ConsistencyScorer,
    rng: np.random.Generator,
) -> Iterator[tuple[TrialClip, slice, EditKind]]:
    """Yield the clip with each kind and length of edit that it has room for.

    `others` are clips of other people; `synthesise` returns a clip of so many frames of synthetic speech.
    """
    for length_s in LENGTHS_S:
        n_frames = round(length_s * FPS)
        places = find_places(clip, n_frames)
        if len(clip) < n_frames + MIN_REST_S * FPS or not len(places):
            continue
        for kind in EditKind:
            first = int(rng.choice(places))
            drawn = _draw_voice(clip, kind, first, n_frames, others, synthesise, rng)
            if drawn is not None:
                voice, there = drawn
                here, steps = slice(first, first + n_frames), FADED_STEPS if kind == EditKind.FADED else 1
                yield replace_sound(clip, voice, here, there, scorer.encode, steps), here, kind


def find_places(clip: TrialClip, n_frames: int) -> np.ndarray:
    """Return the first frames of windows in which at least MIN_VOICED of the frames have speech."""
    counts = np.concatenate([[0], np.cumsum(mark_speech(clip))])
    return np.flatnonzero(counts[n_frames:] - counts[:-n_frames] >= MIN_VOICED * n_frames)


def find_overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the intersection over union of two ranges of time."""
    common = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return common / (one[1] - one[0] + other[1] - other[0] - common)


def share_found(results: Sequence[EditResult]) -> Share | None:
    """Share of edits found with its interval over people; None without edits."""
    return share_with_interval([one.found for one in results], [one.person for one in results])


def _keep_inconsistent(spans: Sequence[Span]) -> list[Span]:
    return [one for one in spans if one.kind == SpanKind.INCONSISTENT]


def _draw_voice(
    clip: TrialClip,
    kind: EditKind,
    first: int,
    n_frames: int,
    others: Sequence[TrialClip],
    synthesise: Callable[[int], TrialClip],
    rng: np.random.Generator,
) -> tuple[TrialClip, slice] | None:
    """Draw a clip and the frames of its audio; None where none has enough speech."""
    for _ in range(TRIES):
        if kind == EditKind.SYNTHETIC:
            voice = synthesise(n_frames)
        else:
            voice = clip if kind == EditKind.SAME else others[int(rng.integers(len(others)))]
        places = find_places(voice, n_frames) if len(voice) >= n_frames else np.zeros(0, int)
        if kind == EditKind.SAME:
            places = places[np.abs(places - first) >= n_frames]
        if len(places):
            there = int(rng.choice(places))
            return voice, slice(there, there + n_frames)
    return None
