"""Give the segments of a track likelihood ratios: spans that fit the face, that do not, and that stay undecided."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.calibration.qualities import QUALITIES, measure_quality
from engine.calibration.records import Calibration, Task
from engine.calibration.verbal_scale import Zone, find_zone
from engine.consistency.offsets import Consistency
from engine.consistency.spans import SpanOptions, TrackSegment
from engine.errors import Code
from engine.types import FPS, Span, SpanKind
from engine.weights.recipes import hash_options


def write_span_recipe(recipe: str) -> str:
    """Build the recipe of span scores from that of the scores of whole tracks."""
    return f"{recipe}+spans-{hash_options(SpanOptions())}"


def check_spans(calibration: Calibration, recipe: str) -> None:
    """Raise RECIPE_MISMATCH for another recipe of span scores, BAD_CALIBRATION for another status or task."""
    calibration.check_recipe(recipe)
    if (
        calibration.task != Task.SPANS
        or not calibration.is_approved
        or not set(calibration.qualities) <= set(QUALITIES)
    ):
        raise Code.BAD_CALIBRATION(
            f"The calibration {calibration.id[:12]} is {calibration.status}, for {calibration.task}.",
            f"Use an approved one for {Task.SPANS} with these covariates at most: {', '.join(QUALITIES)}.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class SpeechFrames:
    """Frames of a track with speech and a visible mouth."""

    spoken: np.ndarray  # (T,) bool
    gap: np.ndarray  # (T,) between the lips
    face_px: float
    start_s: float  # of frame 0

    def count_s(self, kept: np.ndarray | slice) -> float:
        """Return the seconds of speech among some frames."""
        return int(self.spoken[kept].sum()) / FPS

    def find_llr(self, calibration: Calibration, score: float, kept: np.ndarray | slice) -> float:
        """Return the log10 likelihood ratio of the score of some frames."""
        quality = measure_quality(self.spoken[kept], self.gap[kept], self.face_px)
        qualities = [QUALITIES[name](quality) for name in calibration.qualities]
        lengths_s = np.array([quality.speech_s])
        return float(calibration.llrs(np.array([score]), np.array([qualities]), speech_s=lengths_s)[0])


def judge_spans(
    measured: Consistency, speech: SpeechFrames, of_tracks: Calibration, of_spans: Calibration
) -> tuple[Span, ...]:
    """Judge the segments of a track; all are undecidable where the rest of the speech is not itself supported.

    A voice that fits nowhere is a mismatch of the whole track and no change of voices.
    """
    own = _mark_own(measured.segments, len(speech.spoken))
    fits = measured.own_score is not None and bool(measured.segments)
    if fits and measured.own_score is not None:
        llr = speech.find_llr(of_tracks, measured.own_score, own)
        fits = find_zone(llr, of_tracks.policy) == Zone.SUPPORTED
    return tuple(_judge(measured.segments, speech, of_spans, fits))


def _judge(
    segments: tuple[TrackSegment, ...], speech: SpeechFrames, calibration: Calibration, fits: bool
) -> Iterator[Span]:
    for segment in segments:
        llr = None
        if fits and segment.score is not None:
            llr = speech.find_llr(calibration, segment.score, segment.slice)
        yield Span(
            start_s=speech.start_s + segment.first / FPS,
            end_s=speech.start_s + segment.last / FPS,
            start_range_s=_to_seconds(segment.first_range, speech.start_s),
            end_range_s=_to_seconds(segment.last_range, speech.start_s),
            kind=_choose_kind(segment, llr, calibration),
            speech_s=speech.count_s(segment.slice),
            score=segment.score,
            llr=llr,
        )


def _choose_kind(segment: TrackSegment, llr: float | None, calibration: Calibration) -> SpanKind:
    zone = Zone.INCONCLUSIVE if llr is None else find_zone(llr, calibration.policy)
    if segment.is_foreign and zone == Zone.AGAINST:
        return SpanKind.INCONSISTENT
    return SpanKind.CONSISTENT if not segment.is_foreign and zone == Zone.SUPPORTED else SpanKind.UNDECIDABLE


def _mark_own(segments: tuple[TrackSegment, ...], n_frames: int) -> np.ndarray:
    own = np.ones(n_frames, bool)
    for segment in segments:
        own[segment.slice] &= not segment.is_foreign
    return own


def _to_seconds(frames: tuple[int, int], start_s: float) -> tuple[float, float]:
    return start_s + frames[0] / FPS, start_s + frames[1] / FPS
