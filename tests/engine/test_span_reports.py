"""Spans of an analysis: where another voice takes over, and when none is reported."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.calibration.calibrators import Logistic
from engine.calibration.lengths import LengthBounds
from engine.calibration.records import Bounds, Calibration, Policy, Task, seal
from engine.errors import Code
from engine.features import extractor
from engine.features.extractor import FeatureExtractor
from engine.pipeline import Engine
from engine.reports.json import from_json, to_json, write_json
from engine.reports.text import summarise
from engine.span_reports import check_spans, write_span_recipe
from engine.types import Analysis, Clip, Reason, SpanKind, Status
from tests.engine.calibration.drawn import make_record
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_scorer, make_voice
from tests.raising import raises

MOUTH, OTHER = make_mouth(400), make_mouth(400, seed=1)
Analyse = Callable[[Clip], Analysis]
POLICY = Policy(0.5, -0.5, 0.05, 0.05)


def make_line(task: Task, recipe: str, middle: float, slope: float) -> Calibration:
    """An approved record with a log10 LR of 0 at the score `middle`, whatever the qualities."""
    line = Logistic(0.0, slope, (0.0,), (0.0,), (middle, 0.0), (1.0, 1.0), (0.0,), (9.0,))
    bounds = Bounds(-1.0, 2.0, "drawn")
    by_length = (LengthBounds(1.5, None, -1.0, 2.0),)
    fields = {"parameters": line, "bounds": bounds, "bounds_by_length": by_length, "policy": POLICY}
    return seal(replace(make_record(), id="", task=task, recipe=recipe, **fields)).approve("Bob")  # type: ignore[arg-type]


OF_TRACKS = make_line(Task.CONSISTENCY, "fake-compact", 0.4, 10.0)
OF_SPANS = make_line(Task.SPANS, write_span_recipe("fake-compact"), 0.0, 5.0)


@pytest.fixture
def engine() -> Engine:
    feature_extractor = FeatureExtractor(FakeNets(), FakeVoice(), "seen")  # type: ignore[arg-type]
    return Engine(feature_extractor, make_scorer(), "fake", calibration=OF_TRACKS, span_calibration=OF_SPANS)


@pytest.fixture
def analyse(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Analyse:
    def run(clip: Clip) -> Analysis:
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        return engine.analyse(Path("drawn.mp4"))

    return run


def edit(first: int, last: int) -> Clip:
    """The own voice, and another one in the frames [first, last)."""
    heard = MOUTH.copy()
    heard[first:last] = OTHER[first:last]
    return make_clip([MOUTH], make_voice(heard))


@pytest.mark.parametrize(("first", "last"), [(150, 250), (250, 400)], ids=["a sentence", "takes over"])
def test_another_voice_is_a_span_of_its_own_and_the_clip_is_not_supported(
    analyse: Analyse, first: int, last: int
) -> None:
    analysis = analyse(edit(first, last))
    found = analysis.tracks[0].consistency
    (span,) = [one for one in found.spans if one.kind == SpanKind.INCONSISTENT]
    assert abs(span.start_s - first / 25) <= 0.4 and abs(span.end_s - last / 25) <= 0.4
    assert span.llr is not None and -1.0 <= span.llr <= -0.5 and span.score is not None and span.score < 0
    assert abs(span.speech_s - (last - first) / 25) <= 0.6
    assert {one.kind for one in found.spans} == {SpanKind.INCONSISTENT, SpanKind.CONSISTENT}
    assert Reason.VOICE_CHANGES in found.reasons and Reason.VOICE_CHANGES in analysis.reasons
    assert analysis.status == Status.LIMITED and (found.llr, found.zone) == (None, "inconclusive")
    assert found.span_calibration is not None and found.span_calibration.id == OF_SPANS.id


def test_genuine_speech_is_one_consistent_span(analyse: Analyse) -> None:
    found = analyse(make_clip([MOUTH], make_voice(MOUTH))).tracks[0].consistency
    (span,) = found.spans
    assert (span.start_s, span.end_s, span.kind) == (0.0, 16.0, SpanKind.CONSISTENT)
    assert span.llr is not None and span.llr >= 0.5
    assert found.zone == "supported" and Reason.VOICE_CHANGES not in found.reasons


def test_a_mismatch_of_the_whole_clip_is_no_change_of_voices(analyse: Analyse) -> None:
    found = analyse(make_clip([MOUTH], make_voice(OTHER))).tracks[0].consistency
    assert Reason.VOICE_CHANGES not in found.reasons
    assert all(one.kind == SpanKind.UNDECIDABLE and one.llr is None for one in found.spans)


def test_without_a_calibration_of_spans_none_is_reported_and_the_report_says_so(
    analyse: Analyse, engine: Engine
) -> None:
    engine.span_calibration = None
    analysis = analyse(edit(150, 250))
    found = analysis.tracks[0].consistency
    assert found.spans == () and found.span_calibration is None and Reason.VOICE_CHANGES not in found.reasons
    assert "no calibration of spans" in summarise(analysis)


def test_spans_come_back_from_the_report(analyse: Analyse) -> None:
    analysis = analyse(edit(150, 250))
    report = to_json(analysis)
    (written,) = [one for one in report["tracks"][0]["consistency"]["spans"] if one["kind"] == "inconsistent"]
    assert written["start_range_s"][0] <= written["start_s"] <= written["start_range_s"][1]
    assert write_json(to_json(from_json(report))) == write_json(report)
    for track in report["tracks"]:  # a report of an earlier version
        del track["consistency"]["spans"], track["consistency"]["span_calibration"]
    assert from_json(report).tracks[0].consistency.spans == ()


def test_the_text_names_the_span_and_its_ratio(analyse: Analyse) -> None:
    text = summarise(analyse(edit(150, 250)))
    assert "VOICE_CHANGES" in text and "inconsistent" in text and "log10 likelihood ratio -1.00" in text


def test_a_record_of_another_task_status_or_recipe_is_refused(engine: Engine) -> None:
    recipe = write_span_recipe("fake-compact")
    with raises(Code.RECIPE_MISMATCH):
        check_spans(OF_SPANS, "fake-compact")
    with raises(Code.BAD_CALIBRATION):
        check_spans(replace(OF_TRACKS, recipe=recipe), recipe)
    with raises(Code.BAD_CALIBRATION):
        check_spans(OF_SPANS.retire("drawn"), recipe)
    with raises(Code.RECIPE_MISMATCH):
        engine.apply(replace(OF_SPANS, recipe="other"))
    engine.apply(None)
    assert engine.calibration is None and engine.span_calibration is None
    engine.apply(OF_SPANS)
    assert engine.calibration is None and engine.span_calibration is OF_SPANS
