"""An analysis as JSON: the same from the command line and from the page, timings apart.

Names and units are a contract (schema 1): fields may be added, none changes its meaning. Numbers are finite or null,
rounded to what they are worth: seconds to a millisecond, scores to a millionth.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from engine.calibration.records import Task
from engine.calibration.verbal_scale import state
from engine.errors import Code, EngineError
from engine.json_fields import explain
from engine.types import Analysis

SCHEMA_VERSION = 1
FILE = ("name", "sha256", "duration_s", "size_px", "source_fps")  # fields that stand under `file`
SIDE = 96  # pixels of a thumbnail
BLANK_GREY = 128
ANALYSIS = TypeAdapter(Analysis)


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Turn an analysis into plain dicts, lists, strings and numbers; pictures stay out."""
    written = ANALYSIS.dump_python(analysis, mode="json", exclude={"tracks": {"__all__": {"thumbnail"}}})
    for track, own in zip(written["tracks"], analysis.tracks, strict=True):
        track["consistency"] = _state(track["consistency"], own.consistency.llr)
    file = {name: written.pop(name) for name in FILE}
    return {"schema_version": SCHEMA_VERSION, "file": file, **written}


def from_json(report: Mapping[str, Any], thumbnails: Mapping[int, np.ndarray] | None = None) -> Analysis:
    """Read what `to_json` returned; `thumbnails` (96, 96, 3) uint8 by track, grey where there is none.

    Numbers are as rounded there, so `to_json` of the result returns the same report again. REPORT_DAMAGED where it is
    none; unknown keys, of later versions, are ignored.
    """
    blank = np.full((SIDE, SIDE, 3), BLANK_GREY, np.uint8)
    pictures = thumbnails or {}
    try:
        tracks = [{**track, "thumbnail": pictures.get(track["id"], blank)} for track in report["tracks"]]
        return ANALYSIS.validate_python({**report, **report["file"], "tracks": tracks})
    except (KeyError, TypeError, ValueError) as cause:
        raise Code.REPORT_DAMAGED(
            f"The report is damaged, or none of Wayspeak's: {explain(cause)}.", "Analyse the file again."
        ) from cause


def error_to_json(error: EngineError) -> dict[str, Any]:
    """Give the object that stands in place of a report when there is none."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def write_json(report: dict[str, Any]) -> str:
    """Write a report as text that is the same for the same report; a number that is not finite raises ValueError."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _state(written: dict[str, Any], llr: float | None) -> dict[str, Any]:
    """Insert the sentence for a likelihood ratio, which is derived and so no field, after its band."""
    items = list(written.items())
    after = list(written).index("band") + 1
    text = None if llr is None else state(llr, Task.CONSISTENCY).text
    return dict([*items[:after], ("statement", text), *items[after:]])
