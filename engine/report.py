"""An analysis as JSON: the same from the command line and from the page, timings apart.

Names and units are a contract (schema 1): fields may be added, none changes its meaning. Numbers are finite or null,
rounded to what they are worth: seconds to a millisecond, scores to a millionth.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

from engine.calibration.bands import state
from engine.calibration.records import Task
from engine.errors import EngineError
from engine.readback import from_json
from engine.types import Analysis, CalibrationNote, ConsistencyReport, SecondOpinion, SyncCurve, TrackReport, Window

__all__ = ["SCHEMA_VERSION", "error_to_json", "from_json", "to_json", "write_json"]

SCHEMA_VERSION = 1


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Turn an analysis into plain dicts, lists, strings and numbers; pictures stay out."""
    return {
        "schema_version": SCHEMA_VERSION,
        "file": {
            "name": analysis.name,
            "sha256": analysis.sha256,
            "duration_s": _seconds(analysis.duration_s),
            "size_px": list(analysis.size_px),
            "source_fps": _seconds(analysis.source_fps),
        },
        "status": str(analysis.status),
        "reasons": [str(reason) for reason in analysis.reasons],
        "recipe": analysis.recipe,
        "model": str(analysis.model),
        "mode": str(analysis.mode),
        "timings_s": {name: _seconds(value) for name, value in analysis.timings_s.items()},
        "tracks": [_track(track) for track in analysis.tracks],
    }


def error_to_json(error: EngineError) -> dict[str, Any]:
    """Give the object that stands in place of a report when there is none."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def write_json(report: dict[str, Any]) -> str:
    """Write a report as text that is the same for the same report; a number that is not finite raises ValueError."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _track(track: TrackReport) -> dict[str, Any]:
    return {
        "id": track.id,
        "start_s": _seconds(track.start_s),
        "end_s": _seconds(track.end_s),
        "face_px": _rounded(track.face_px, 1),
        "consistency": _consistency(track.consistency),
    }


def _consistency(report: ConsistencyReport) -> dict[str, Any]:
    return {
        "status": str(report.status),
        "reasons": [str(reason) for reason in report.reasons],
        "score": _score(report.score),
        "offset_s": _seconds(report.offset_s),
        "dynamic_score": _score(report.dynamic_score),
        "drift_s": _seconds(report.drift_s),
        "llr": _score(report.llr),
        "calibration": _calibration(report.calibration) if report.calibration else None,
        "zone": report.zone,
        "band": report.band,
        "statement": None if report.llr is None else state(report.llr, Task.CONSISTENCY).text,
        "p_value": _score(report.p_value),
        "smallest_p": _score(report.smallest_p),
        "speech_s": _seconds(report.speech_s),
        "windows": [_window(window) for window in report.windows],
        "curve": _curve(report.curve) if report.curve else None,
        "second": _second(report.second) if report.second else None,
    }


def _calibration(note: CalibrationNote) -> dict[str, Any]:
    return {
        "id": note.id,
        "version": note.version,
        "author": note.author,
        "approver": note.approver,
        "bounds_llr": [_score(note.lower_llr), _score(note.upper_llr)],
        "supported_llr": _score(note.supported_llr),
        "against_llr": _score(note.against_llr),
    }


def _second(second: SecondOpinion) -> dict[str, Any]:
    return {
        "model": str(second.model),
        "recipe": second.recipe,
        "score": _score(second.score),
        "offset_s": _seconds(second.offset_s),
        "clarity": _rounded(second.clarity, 3),
        "first_clarity": _rounded(second.first_clarity, 3),
        "agrees": second.agrees,
        "text": second.text,
        "curve": _curve(second.curve),
    }


def _window(window: Window) -> dict[str, Any]:
    return {
        "start_s": _seconds(window.start_s),
        "end_s": _seconds(window.end_s),
        "score": _score(window.score),
        "offset_s": _seconds(window.offset_s),
    }


def _curve(curve: SyncCurve) -> dict[str, Any]:
    return {
        "offsets_s": _all(curve.offsets_s, 3),
        "similarity": _all(curve.similarity, 6),
        "pairs": [int(count) for count in curve.pairs],
    }


def _all(values: Iterable[float], digits: int) -> list[float | None]:
    return [_rounded(value, digits) for value in values]


def _seconds(value: float | None) -> float | None:
    return _rounded(value, 3)


def _score(value: float | None) -> float | None:
    return _rounded(value, 6)


def _rounded(value: float | None, digits: int) -> float | None:
    """Give a plain float, never -0.0; None for what is absent, not a number, or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0
