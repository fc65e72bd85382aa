"""Report scored face tracks: calibration, spans, and the results that decide the status of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.calibration.apply import apply_calibration, to_note
from engine.calibration.qualities import SpeechQuality
from engine.calibration.records import Calibration
from engine.consistency.gates import Gated, combine, gate_voices
from engine.consistency.offsets import Consistency
from engine.features.records import FaceFeatures
from engine.span_reports import SpeechFrames, judge_spans
from engine.types import (
    FPS,
    ConsistencyReport,
    SecondOpinion,
    Span,
    SpanKind,
    SpeakerReport,
    TrackReport,
    Window,
)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTrack:
    """A face after its gates: measurement, or reasons for none."""

    face: FaceFeatures
    gated: Gated
    quality: SpeechQuality
    measured: Consistency | None = None
    second: SecondOpinion | None = None
    same_as: int | None = None
    channel: str | None = None  # of the audio, where each channel was judged
    spoken: np.ndarray | None = None  # (T,) bool: speech with a visible mouth

    @property
    def rank(self) -> tuple[float, float]:
        """Order among the channels of one face: the best fit, then the most speech."""
        return (self.measured.score if self.measured else float("-inf"), self.quality.speech_s)


Calibrations = tuple[Calibration | None, Calibration | None]
"""Calibrations of tracks and of spans."""


def report_tracks(scored: list[ScoredTrack], in_force: Calibrations, from_s: float) -> tuple[TrackReport, ...]:
    """Report each face by its number in the features: scored faces first, the highest score first."""
    reports = [
        TrackReport(
            id=number,
            start_s=from_s + one.face.start / FPS,
            end_s=from_s + one.face.end / FPS,
            face_px=one.face.face_px,
            thumbnail=one.face.thumbnail,
            consistency=report_consistency(one, in_force, from_s),
            channel=one.channel,
            same_as=one.same_as,
        )
        for number, one in enumerate(scored)
    ]
    return tuple(
        sorted(reports, key=lambda one: -np.inf if (score := one.consistency.score) is None else score, reverse=True)
    )


def report_consistency(scored: ScoredTrack, in_force: Calibrations, from_s: float) -> ConsistencyReport:
    """Report the score of a track, its likelihood ratio and its spans; `from_s`: start of the features in the file."""
    found, (calibration, of_spans) = scored.measured, in_force
    spans = _judge_spans(scored, in_force, from_s)
    changes = any(span.kind == SpanKind.INCONSISTENT for span in spans)
    status, reasons = combine(scored.gated, gate_voices(changes))
    calibrated: dict[str, Any] = {"llr": None}
    if calibration is not None and found is not None:
        calibrated |= apply_calibration(calibration, found.score, scored.quality, reasons)
    return ConsistencyReport(
        status=status,
        reasons=reasons,
        score=found.score if found else None,
        offset_s=found.offset_s if found else None,
        dynamic_score=found.dynamic_score if found else None,
        drift_s=found.drift_s if found else None,
        speech_s=scored.quality.speech_s,
        windows=_move(found.windows, from_s) if found else (),
        curve=found.curve if found else None,
        second=scored.second,
        spans=spans,
        span_calibration=to_note(of_spans, scored.quality.speech_s) if spans and of_spans else None,
        **calibrated,
    )


def _judge_spans(scored: ScoredTrack, in_force: Calibrations, from_s: float) -> tuple[Span, ...]:
    """Judge the spans of a track; () without both calibrations, or for a track that has no likelihood ratio."""
    (of_tracks, of_spans), found = in_force, scored.measured
    barred = any(reason.bars_llr for reason in scored.gated[1])
    if of_tracks is None or of_spans is None or found is None or scored.spoken is None or barred:
        return ()
    speech = SpeechFrames(scored.spoken, scored.face.gap, scored.face.face_px, from_s + scored.face.start / FPS)
    return judge_spans(found, speech, of_tracks, of_spans)


def choose_answers(reports: Sequence[TrackReport], speakers: Sequence[SpeakerReport]) -> list[Gated]:
    """Return the results that decide the status of the clip: of pooled tracks too where no single one is enough."""
    single = [(one.consistency.status, one.consistency.reasons) for one in reports]
    if any(one.consistency.score is not None for one in reports):
        return single
    return single + [(one.consistency.status, one.consistency.reasons) for one in speakers]


def _move(windows: tuple[Window, ...], by_s: float) -> tuple[Window, ...]:
    """Add to the times of windows."""
    moved = (replace(window, start_s=window.start_s + by_s, end_s=window.end_s + by_s) for window in windows)
    return tuple(moved) if by_s else windows
