"""Calibrated analysis: LRs of own and other voices, and results without an LR."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.calibration.calibrators import Logistic
from engine.calibration.records import Bounds, Calibration, Policy, seal
from engine.errors import Code
from engine.features import extractor
from engine.features.extractor import FeatureExtractor
from engine.pipeline import Engine
from engine.reports.json import from_json, to_json, write_json
from engine.reports.text import summarise
from engine.types import Analysis, Clip, Reason
from tests.engine.calibration.drawn import make_record
from tests.fakes import FakeNets, FakeVoice, make_clip, make_mouth, make_scorer, make_voice
from tests.raising import raises

MOUTH, OTHER = make_mouth(300), make_mouth(300, seed=1)
Analyse = Callable[[Clip], Analysis]


@pytest.fixture(scope="module")
def record() -> Calibration:
    """A log10 LR of 0 at the score 0.4, of 2 at 0.6, whatever the qualities."""
    line = Logistic(0.0, 10.0, (0.0,), (0.0,), (0.4, 0.0), (1.0, 1.0), (0.0,), (9.0,))
    bounds, policy = Bounds(-1.0, 2.0, "drawn"), Policy(0.5, -0.5, 0.05, 0.05)
    drawn = replace(
        make_record(), id="", recipe="fake-compact", parameters=line, bounds=bounds, bounds_by_length=(), policy=policy
    )
    return seal(drawn).approve("Bob")


@pytest.fixture
def engine(record: Calibration) -> Engine:
    feature_extractor = FeatureExtractor(FakeNets(), FakeVoice(), "seen")  # type: ignore[arg-type]
    return Engine(feature_extractor, make_scorer(), "fake", calibration=record)


@pytest.fixture
def analyse(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Analyse:
    def run(clip: Clip) -> Analysis:
        monkeypatch.setattr(extractor, "open_clip", lambda path, limits, sha256=None, selection=None: clip)
        return engine.analyse(Path("drawn.mp4"))

    return run


def test_own_and_other_voices_are_separated_within_bounds(analyse: Analyse, record: Calibration) -> None:
    own, other = (analyse(make_clip([MOUTH], make_voice(voice))).tracks[0].consistency for voice in (MOUTH, OTHER))
    assert (own.llr, own.zone, own.band) == (2.0, "supported", "moderately strong support")
    assert other.llr is not None and -1.0 <= other.llr < -0.3 and other.zone in ("against", "inconclusive")
    assert own.calibration is not None and own.calibration.id == record.id
    assert (own.calibration.author, own.calibration.approver) == ("Ada", "Bob")
    assert own.p_value is not None and other.p_value is not None and own.smallest_p is not None
    assert own.smallest_p <= other.p_value <= own.p_value <= 1


def test_without_a_calibration_the_score_is_the_same_and_nothing_more_is_said(analyse: Analyse, engine: Engine) -> None:
    clip = make_clip([MOUTH], make_voice(MOUTH))
    result = analyse(clip).tracks[0].consistency
    engine.apply(None)
    raw = analyse(clip).tracks[0].consistency
    assert raw.score == result.score
    assert (raw.llr, raw.calibration, raw.zone, raw.band, raw.p_value) == (None,) * 5


@pytest.mark.parametrize(
    "clip",
    [
        make_clip([MOUTH], None),
        make_clip([MOUTH[:37]], make_voice(MOUTH[:37])),
        make_clip([MOUTH], make_voice(MOUTH), frame_px=90),
        make_clip([np.full(300, 0.3)], make_voice(MOUTH)),
    ],
    ids=["silent", "short", "small", "still"],
)
def test_no_verdict_leaks_through_a_gate(analyse: Analyse, clip: Clip) -> None:
    analysis = analyse(clip)
    for track in analysis.tracks:
        found = track.consistency
        assert (found.score, found.llr, found.calibration, found.zone, found.p_value) == (None,) * 5
    assert "Reported as" not in summarise(analysis) and "times more probable" not in summarise(analysis)


def test_a_sound_out_of_reach_has_a_score_and_no_ratio(analyse: Analyse, engine: Engine) -> None:
    reach = engine.options.consistency.max_offset
    analysis = analyse(make_clip([MOUTH], make_voice(MOUTH, late=reach + 6)))
    found = analysis.tracks[0].consistency
    assert Reason.OFFSET_BEYOND_SEARCH in found.reasons and found.score is not None
    assert (found.llr, found.zone, found.band) == (None, "inconclusive", None) and found.calibration is not None
    text = summarise(analysis)
    assert "no likelihood ratio" in text and "No likelihood ratio is given for the whole" in text


def test_what_is_said_stands_in_the_report_and_comes_back_from_it(analyse: Analyse, record: Calibration) -> None:
    analysis = analyse(make_clip([MOUTH], make_voice(MOUTH)))
    report = to_json(analysis)
    result = report["tracks"][0]["consistency"]
    assert result["llr"] == 2.0 and result["zone"] == "supported" and result["calibration"]["id"] == record.id
    assert result["calibration"]["bounds_llr"] == [-1.0, 2.0]
    assert "100 times more probable if this face produced this speech" in result["statement"]
    assert write_json(to_json(from_json(report))) == write_json(report)
    text = summarise(analysis)
    for words in (result["statement"], "Reported as supported", "p = ", "No ratio beyond 100", "approved by Bob"):
        assert words in text


def test_a_record_of_another_recipe_or_a_draft_is_refused(engine: Engine, record: Calibration) -> None:
    with raises(Code.RECIPE_MISMATCH):
        engine.apply(seal(replace(record, id="", recipe="another")))
    with raises(Code.BAD_CALIBRATION):
        engine.apply(seal(replace(make_record(), id="", recipe="fake-compact")))
    assert engine.calibration == record
