"""An analysis read back from its JSON is the same report again; any other content is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import Code
from engine.reports.json import SCHEMA_VERSION, error_to_json, from_json, to_json, write_json
from engine.reports.text import CAUTION, summarise
from engine.types import Analysis, Mode, Model, Reason, Status
from tests.fakes import make_analysis, make_report, make_second
from tests.raising import raises

REASONS = Path(__file__).parents[3] / "docs" / "reading-a-result.md"


def test_contract_names_are_all_there():
    report = to_json(make_analysis())

    names = ["schema_version", "file", "status", "reasons", "recipe", "model", "mode", "timings_s", "tracks", "media"]
    assert list(report) == [*names, "speakers"]
    assert report["schema_version"] == SCHEMA_VERSION == 1
    assert {"sha256", "duration_s"} <= set(report["file"])
    (track,) = report["tracks"]
    assert {"start_s", "end_s", "consistency"} <= set(track)
    consistency = track["consistency"]
    assert {"status", "reasons", "score", "offset_s", "llr", "windows"} <= set(consistency)
    assert set(consistency["windows"][0]) == {"start_s", "end_s", "score", "offset_s", "track_score"}
    assert consistency["llr"] is None and consistency["second"] is None


def test_values_are_those_of_the_analysis():
    report = to_json(make_analysis(make_report(0.6, 3, Reason.EDITED)))
    found = report["tracks"][0]["consistency"]

    assert report["status"] == found["status"] == "LIMITED"
    assert report["reasons"] == found["reasons"] == ["EDITED"]
    assert (found["score"], found["offset_s"]) == (0.6, 0.12)
    assert found["curve"]["offsets_s"][0] == -0.6 and len(found["curve"]["similarity"]) == 31
    assert found["curve"]["pairs"][15] == 250


def test_refused_track_has_null_for_every_measure():
    found = to_json(make_analysis(make_report(None, 0, Reason.SILENT)))["tracks"][0]["consistency"]

    assert [found[name] for name in ("score", "offset_s", "dynamic_score", "drift_s", "llr", "curve")] == [None] * 6
    assert found["windows"] == [] and found["status"] == "NOT_EVALUATED"


def test_pictures_stay_out():
    assert "thumbnail" not in write_json(to_json(make_analysis()))


def test_numbers_are_rounded_and_never_minus_zero():
    analysis = make_analysis(replace(make_report(), score=0.12345678, offset_s=-0.0001, drift_s=-0.0))
    found = to_json(analysis)["tracks"][0]["consistency"]

    assert found["score"] == 0.123457
    assert math.copysign(1, found["offset_s"]) == math.copysign(1, found["drift_s"]) == 1


def test_what_is_not_finite_becomes_null():
    report = make_report()
    curve = replace(report.curve, similarity=np.where(np.arange(31) == 4, np.nan, report.curve.similarity))
    text = write_json(to_json(make_analysis(replace(report, curve=curve))))

    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["tracks"][0]["consistency"]["curve"]["similarity"][4] is None


def test_written_report_is_read_back_equal_and_is_the_same_each_time():
    report = to_json(make_analysis(name="Größe.mp4"))

    assert json.loads(write_json(report)) == report
    assert write_json(report) == write_json(to_json(make_analysis(name="Größe.mp4")))
    assert "Größe.mp4" in write_json(report) and write_json(report).endswith("}\n")


def test_number_that_is_not_finite_is_never_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"score": math.nan})


def test_error_object():
    error = error_to_json(Code.UNREADABLE_VIDEO("found this", "do that"))
    assert error == {"error": {"code": "UNREADABLE_VIDEO", "message": "found this", "hint": "do that"}}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason):
    assert reason == reason.name == Reason(reason.value)
    assert reason.text and not reason.text.endswith(".") and reason.next_step.endswith(".")
    assert reason in REASONS.read_text(encoding="utf-8")


def test_summary_says_what_was_measured_and_what_it_does_not_mean():
    text = summarise(make_analysis(make_report(0.6, 3, Reason.EDITED), make_report(None, 0, Reason.LOW_RES)))

    assert "score 0.600 (uncalibrated; higher is more consistent), best with the sound 0.12 s too late" in text
    assert f"EDITED: {Reason.EDITED.text}" in text
    assert "no score; 9.5 s of speech" in text
    assert str(Status.NOT_EVALUATED) in text
    assert all(sentence in text for sentence in CAUTION)


@pytest.mark.parametrize(("offset", "words"), [(0, "where it is"), (-2, "0.08 s too early"), (2, "0.08 s too late")])
def test_summary_states_direction_of_the_offset(offset, words):
    assert words in summarise(make_analysis(make_report(0.6, offset)))


def test_second_model_score_is_complete_and_names_method():
    report = replace(make_report(0.6, 1, Reason.EXPERTS_DISAGREE), second=make_second(agrees=False))
    analysis = replace(make_analysis(report), mode=Mode.PAPER)
    written = json.loads(write_json(to_json(analysis)))
    second = written["tracks"][0]["consistency"]["second"]

    assert (written["model"], written["mode"]) == ("compact", "paper")
    names = ["model", "recipe", "score", "offset_s", "clarity", "first_clarity", "agrees", "text", "curve"]
    assert list(second) == names
    assert (second["model"], second["agrees"], second["clarity"]) == ("avhubert-large", False, 5.5)
    assert len(second["curve"]["similarity"]) == 31


def test_summary_lists_both_model_scores_without_averaging():
    report = replace(make_report(0.6, 1, Reason.EXPERTS_DISAGREE), second=make_second(False, score=0.2))
    text = summarise(make_analysis(report))

    assert "Method: Compact, by time; second: AV-HuBERT LARGE" in text
    assert "score 0.600" in text and "second opinion, AV-HuBERT LARGE: contradicts." in text
    assert "Score 0.200 on a scale of its own" in text and "0.400" not in text
    assert f"EXPERTS_DISAGREE: {Reason.EXPERTS_DISAGREE.text}" in text


@pytest.mark.parametrize("place", ["first", "second", "nowhere"])
def test_research_alone_is_said_wherever_avhubert_took_part(place):
    report = replace(make_report(), second=make_second()) if place == "second" else make_report()
    model = Model.AVHUBERT_BASE if place == "first" else Model.COMPACT
    text = summarise(replace(make_analysis(report), model=model))

    assert ("non-commercial research alone" in text) == (place != "nowhere")


def test_paper_mode_is_explained():
    assert "as SpeechForensics gives it" in summarise(replace(make_analysis(), mode=Mode.PAPER))
    assert "SpeechForensics" not in summarise(make_analysis())


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
    with raises(Code.REPORT_DAMAGED) as result:
        from_json(damage(to_json(make_analysis()), *path, value=value))
    assert result.value.code == "REPORT_DAMAGED" and result.value.hint and place in result.value.message
