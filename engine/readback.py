"""An analysis read back from the JSON of `engine/report.py`: numbers as rounded there, pictures from elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.types import (
    Analysis,
    CalibrationNote,
    ConsistencyReport,
    Mode,
    Model,
    Reason,
    SecondOpinion,
    Status,
    SyncCurve,
    TrackReport,
    Window,
)

SIDE = 96  # pixels of a thumbnail
BLANK_GREY = 128


class ReportDamaged(EngineError):
    """A report is not whole, or not one of ours."""

    code = "REPORT_DAMAGED"


def from_json(report: Mapping[str, Any], thumbnails: Mapping[int, np.ndarray] | None = None) -> Analysis:
    """Read what `to_json` gave; `thumbnails` (96, 96, 3) uint8 by track, grey where there is none.

    `to_json` of the result gives the same report again. ReportDamaged where it is none.
    """
    pictures = thumbnails or {}
    try:
        file = report["file"]
        return Analysis(
            name=str(file["name"]),
            sha256=str(file["sha256"]),
            duration_s=float(file["duration_s"]),
            size_px=(int(file["size_px"][0]), int(file["size_px"][1])),
            source_fps=float(file["source_fps"]),
            status=Status(report["status"]),
            reasons=_reasons(report["reasons"]),
            recipe=str(report["recipe"]),
            timings_s={str(name): float(value) for name, value in report["timings_s"].items()},
            tracks=tuple(_track(one, pictures) for one in report["tracks"]),
            model=Model(report["model"]),
            mode=Mode(report["mode"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as cause:
        raise ReportDamaged("The report is damaged, or none of Wayspeak's.", "Analyse the file again.") from cause


def _reasons(names: Sequence[str]) -> tuple[Reason, ...]:
    return tuple(Reason(name) for name in names)


def _track(track: Mapping[str, Any], pictures: Mapping[int, np.ndarray]) -> TrackReport:
    number = int(track["id"])
    picture = pictures.get(number)
    return TrackReport(
        id=number,
        start_s=float(track["start_s"]),
        end_s=float(track["end_s"]),
        face_px=float(track["face_px"]),
        thumbnail=np.full((SIDE, SIDE, 3), BLANK_GREY, np.uint8) if picture is None else picture,
        consistency=_consistency(track["consistency"]),
    )


def _consistency(found: Mapping[str, Any]) -> ConsistencyReport:
    return ConsistencyReport(
        status=Status(found["status"]),
        reasons=_reasons(found["reasons"]),
        score=_number(found["score"]),
        offset_s=_number(found["offset_s"]),
        dynamic_score=_number(found["dynamic_score"]),
        drift_s=_number(found["drift_s"]),
        llr=_number(found["llr"]),
        speech_s=float(found["speech_s"]),
        windows=tuple(_window(one) for one in found["windows"]),
        curve=_curve(found["curve"]) if found["curve"] else None,
        second=_second(found["second"]) if found["second"] else None,
        # what earlier versions of the program did not write
        calibration=_calibration(found["calibration"]) if found.get("calibration") else None,
        zone=found.get("zone"),
        band=found.get("band"),
        p_value=_number(found.get("p_value")),
        smallest_p=_number(found.get("smallest_p")),
    )


def _calibration(note: Mapping[str, Any]) -> CalibrationNote:
    lower, upper = note["bounds_llr"]
    return CalibrationNote(
        id=str(note["id"]),
        version=str(note["version"]),
        author=str(note["author"]),
        approver=str(note["approver"]),
        lower_llr=float(lower),
        upper_llr=float(upper),
        supported_llr=float(note["supported_llr"]),
        against_llr=float(note["against_llr"]),
    )


def _second(second: Mapping[str, Any]) -> SecondOpinion:
    return SecondOpinion(
        model=Model(second["model"]),
        recipe=str(second["recipe"]),
        score=float(second["score"]),
        offset_s=float(second["offset_s"]),
        clarity=float(second["clarity"]),
        first_clarity=float(second["first_clarity"]),
        agrees=bool(second["agrees"]),
        text=str(second["text"]),
        curve=_curve(second["curve"]),
    )


def _window(window: Mapping[str, Any]) -> Window:
    return Window(*(float(window[name]) for name in ("start_s", "end_s", "score", "offset_s")))


def _curve(curve: Mapping[str, Any]) -> SyncCurve:
    return SyncCurve(
        offsets_s=np.array(curve["offsets_s"], np.float32),
        similarity=np.array(curve["similarity"], np.float32),  # null becomes NaN
        pairs=np.array(curve["pairs"], np.int64),
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
