"""An analysis read back from its JSON is the same report again; what is none is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import Code
from engine.reports.json import from_json, to_json, write_json
from engine.types import Analysis, Mode, Model, Reason
from tests.fakes import make_analysis, make_report, make_second
from tests.raising import raises

ANALYSES = {
    "one face": make_analysis(),
    "several": make_analysis(make_report(0.31234567, -3, Reason.EDITED), make_report(None, 0, Reason.SILENT)),
    "nobody": replace(make_analysis(), tracks=(), reasons=(Reason.NO_FACE,)),
    "second opinion": make_analysis(replace(make_report(), second=make_second(agrees=False))),
    "paper": replace(
        make_analysis(replace(make_report(), dynamic_score=None, drift_s=None, windows=())),
        model=Model.AVHUBERT_LARGE,
        mode=Mode.PAPER,
    ),
}


@pytest.mark.parametrize("analysis", ANALYSES.values(), ids=ANALYSES)
def test_the_same_report_again(analysis: Analysis) -> None:
    written = write_json(to_json(analysis))
    assert write_json(to_json(from_json(json.loads(written)))) == written


def test_values_come_back_as_what_they_were() -> None:
    analysis = ANALYSES["second opinion"]
    found = from_json(to_json(analysis))
    own, first = found.tracks[0].consistency, analysis.tracks[0].consistency
    assert (own.score, own.offset_s, own.status, own.reasons) == (first.score, 0.04, first.status, first.reasons)
    assert own.second is not None and own.second.agrees is False and own.second.model == Model.AVHUBERT_LARGE
    assert own.curve is not None and first.curve is not None
    np.testing.assert_allclose(own.curve.similarity, first.curve.similarity, atol=1e-6)
    assert (own.curve.pairs == first.curve.pairs).all() and own.windows[3].start_s == 3.0
    assert (found.size_px, found.model, found.mode, found.recipe) == ((1280, 720), *own_of(analysis))


def own_of(analysis: Analysis) -> tuple[Model, Mode, str]:
    return analysis.model, analysis.mode, analysis.recipe


def test_pictures_are_those_that_are_given_else_grey() -> None:
    picture = np.arange(96 * 96 * 3).reshape(96, 96, 3).astype(np.uint8)
    tracks = from_json(to_json(ANALYSES["several"]), {1: picture}).tracks
    assert (tracks[1].thumbnail == picture).all()
    assert tracks[0].thumbnail.shape == (96, 96, 3) and len(np.unique(tracks[0].thumbnail)) == 1


def damage(report: dict[str, Any], *path: str | int, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(report))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("status",), "GREAT", "status: "),
        (("file", "size_px"), [1], "size_px.1: "),
        (("file",), None, "not a mapping"),
        (("tracks", 0, "consistency", "score"), None, "tracks.0.consistency: "),
        (("tracks", 0, "consistency", "windows"), [{}], "tracks.0.consistency.windows.0.start_s: "),
        (("tracks", 0, "face_px"), "wide", "tracks.0.face_px: "),
        (("timings_s",), [], "timings_s: "),
    ],
)
def test_what_is_no_report_is_refused(path: tuple[str | int, ...], value: Any, place: str) -> None:
    with raises(Code.REPORT_DAMAGED) as told:
        from_json(damage(to_json(make_analysis()), *path, value=value))
    assert told.value.code == "REPORT_DAMAGED" and told.value.hint and place in told.value.message
