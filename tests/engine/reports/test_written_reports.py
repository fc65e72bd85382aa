"""Reports byte for byte as in `tests/written`, which version 0.1.0 wrote before records were written by pydantic."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.calibration.verbal_scale import Zone
from engine.reports import lip_closures
from engine.reports.json import from_json, to_json, write_json
from engine.types import (
    Analysis,
    CalibrationNote,
    ConsistencyReport,
    Mode,
    Model,
    Reason,
    Status,
    SyncCurve,
    TrackReport,
    Window,
)
from tests.engine.reports.test_lip_closures import make_report as make_articulations
from tests.fakes import make_analysis, make_report, make_second

WRITTEN = Path(__file__).parents[2] / "written"


def make_curve(*similarity: float) -> SyncCurve:
    offsets = np.array([-0.04, -0.00001, 0.04], np.float32)
    return SyncCurve(offsets, np.array(similarity, np.float32), np.array([248, 250, 249]))


def make_note() -> CalibrationNote:
    return CalibrationNote("c" * 64, "1.0.0", "Ada", "Grace", (-1.23456789, 2.4), 0.3, -0.0000001)


CALIBRATED = replace(
    make_report(0.12345678, 0, Reason.EDITED, Reason.DRIFT),
    offset_s=-0.0001,
    dynamic_score=np.float64(0.98765449),
    drift_s=-0.0,
    llr=-1.23456789,
    calibration=make_note(),
    zone="against",
    band="moderate",
    p_value=1 / 3,
    smallest_p=0.0196078431,
    speech_s=np.float32(9.4567),
    curve=make_curve(0.1234567, -0.00000001, 0.5),
    windows=(Window(0.0, 2.0, np.float64(-1e-9), -0.04), Window(1.0004, 3.0006, float("nan"), float("-inf"))),
)
ANALYSES: dict[str, Analysis] = {
    "plain": make_analysis(name='Größe \u2028 "x".mp4'),
    "calibrated": replace(
        make_analysis(CALIBRATED, replace(CALIBRATED, llr=2.0, zone=str(Zone.SUPPORTED), band="strong", reasons=())),
        source_fps=29.97002997,
        duration_s=10.00049,
        timings_s={"read": 0.12349, "total": 1e-9, "odd": float("inf")},
    ),
    "no-strength": make_analysis(
        replace(CALIBRATED, llr=0.0, zone="inconclusive", band=None, p_value=None, smallest_p=None),
        replace(CALIBRATED, llr=None, zone="inconclusive", band=None, p_value=None, smallest_p=None),
    ),
    "not-finite": make_analysis(
        replace(make_report(), score=float("nan"), offset_s=float("inf"), curve=make_curve(np.nan, np.inf, -np.inf))
    ),
    "second": make_analysis(
        replace(
            make_report(0.4, 2, Reason.EXPERTS_DISAGREE),
            second=replace(make_second(agrees=False), curve=make_curve(0.1, 0.2, np.nan), clarity=5.54321),
        ),
        make_report(None, 0, Reason.SILENT),
    ),
    "paper": replace(
        make_analysis(replace(make_report(), dynamic_score=None, drift_s=None, windows=(), curve=None)),
        model=Model.AVHUBERT_LARGE,
        mode=Mode.PAPER,
    ),
    "no-face": replace(
        make_analysis(), tracks=(), reasons=(Reason.NO_FACE, Reason.FPS_VFR), status=Status.NOT_EVALUATED, timings_s={}
    ),
}


def read(name: str) -> str:
    return (WRITTEN / f"{name}.json").read_text("utf-8")


def without_added_fields(report: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields added since the reports in `written` were stored."""
    del report["media"], report["speakers"]
    for track in report["tracks"]:
        del track["channel"], track["same_as"]
        for name in ("high_p_value", "spans", "span_calibration"):
            del track["consistency"][name]
        for window in track["consistency"]["windows"]:
            del window["track_score"]
    return report


@pytest.mark.parametrize("name", ANALYSES)
def test_a_report_is_written_as_before(name: str) -> None:
    assert write_json(without_added_fields(to_json(ANALYSES[name]))) == read(name)


@pytest.mark.parametrize("name", sorted(set(ANALYSES) - {"not-finite"}))
def test_a_report_that_was_written_before_is_read_and_written_again(name: str) -> None:
    found = json.loads(read(name))
    for track in found["tracks"]:  # null stands for a number that was not finite; a window needs its numbers
        track["consistency"]["windows"] = [one for one in track["consistency"]["windows"] if None not in one.values()]
    found["timings_s"].pop("odd", None)
    assert without_added_fields(to_json(from_json(found))) == found


def test_a_report_without_the_fields_that_came_later_is_read() -> None:
    found = json.loads(read("plain"))
    later = ("calibration", "zone", "band", "statement", "p_value", "smallest_p")
    for name in later:
        del found["tracks"][0]["consistency"][name]
    analysis = from_json(found)
    assert [getattr(analysis.tracks[0].consistency, name) for name in later if name != "statement"] == [None] * 5
    assert write_json(without_added_fields(to_json(analysis))) == read("plain")


def test_a_report_with_a_field_of_a_later_version_is_read() -> None:
    found = json.loads(read("plain"))
    assert write_json(without_added_fields(to_json(from_json(found | {"later": 1})))) == read("plain")


def test_every_field_of_the_records_is_in_the_report_and_needs_no_other_line_of_code() -> None:
    report = to_json(ANALYSES["calibrated"])
    track = report["tracks"][0]
    consistency = dict(track["consistency"])
    del consistency["statement"]  # derived
    found = {**report, **report["file"], "file": None, "schema_version": None}
    assert {name for name, value in found.items() if value is not None} == set(list_names(Analysis))
    assert list(track) == [name for name in list_names(TrackReport) if name != "thumbnail"]
    assert list(consistency) == list_names(ConsistencyReport)
    assert list(consistency["calibration"]) == list_names(CalibrationNote)
    assert list(consistency["windows"][0]) == list_names(Window)
    assert list(consistency["curve"]) == list_names(SyncCurve)


def list_names(record: type) -> list[str]:
    return [one.name for one in fields(record)]


def test_lip_closures_are_written_as_before() -> None:
    written = write_json(lip_closures.to_json([make_articulations(), make_articulations(0, 0, 0)]))
    assert written == read("articulations")
    assert write_json(lip_closures.to_json(lip_closures.from_json(json.loads(written)))) == written
