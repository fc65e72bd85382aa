"""Serialise an analysis as JSON, equal for command line and page except timings.

Names and units are a contract (schema 1): fields may be added, none changes its meaning. Numbers are finite or null
and rounded to their precision: seconds to a millisecond, scores to a millionth.
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
FILE = ("name", "sha256", "duration_s", "size_px", "source_fps")  # fields under `file`
SIDE = 96  # pixels of a thumbnail
BLANK_GREY = 128
ANALYSIS = TypeAdapter(Analysis)


def to_json(analysis: Analysis) -> dict[str, Any]:
    """Convert an analysis to dicts, lists, strings and numbers, without images."""
    written = ANALYSIS.dump_python(analysis, mode="json", exclude={"tracks": {"__all__": {"thumbnail"}}})
    for track, own in zip(written["tracks"], analysis.tracks, strict=True):
        track["consistency"] = _state(track["consistency"], own.consistency.llr)
    for speaker, pooled in zip(written["speakers"], analysis.speakers, strict=True):
        speaker["consistency"] = _state(speaker["consistency"], pooled.consistency.llr)
    file = {name: written.pop(name) for name in FILE}
    return {"schema_version": SCHEMA_VERSION, "file": file, **written}


def from_json(report: Mapping[str, Any], thumbnails: Mapping[int, np.ndarray] | None = None) -> Analysis:
    """Read the output of `to_json`; `thumbnails` (96, 96, 3) uint8 by track, grey where missing.

    Numbers stay rounded, so `to_json` of the result returns the same report. REPORT_DAMAGED for any other content;
    unknown keys, of later versions, are ignored.
    """
    blank = np.full((SIDE, SIDE, 3), BLANK_GREY, np.uint8)
    pictures = thumbnails or {}
    try:
        tracks = [{**track, "thumbnail": pictures.get(track["id"], blank)} for track in report["tracks"]]
        return ANALYSIS.validate_python({**report, **report["file"], "tracks": tracks})
    except (KeyError, TypeError, ValueError) as cause:
        raise Code.REPORT_DAMAGED(
            f"The report is damaged, or not a report of Wayspeak: {explain(cause)}.", "Analyse the file again."
        ) from cause


def error_to_json(error: EngineError) -> dict[str, Any]:
    """Return the object that replaces a report after an error."""
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def write_json(report: dict[str, Any]) -> str:
    """Serialise a report deterministically; ValueError for a number that is not finite."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _state(written: dict[str, Any], llr: float | None) -> dict[str, Any]:
    """Insert the verbal statement of a likelihood ratio, a derived value, after its band."""
    items = list(written.items())
    after = list(written).index("band") + 1
    text = None if llr is None else state(llr, Task.CONSISTENCY).text
    return dict([*items[:after], ("statement", text), *items[after:]])
