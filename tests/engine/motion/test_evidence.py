"""Evidence: score and qualities of a match, its bounded likelihood ratio, abstention on still faces."""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from engine.calibration.records import CalibrationStatus, Task, seal
from engine.errors import EngineError
from engine.motion.alignment import Line
from engine.motion.channels import MotionRegion
from engine.motion.evidence import NO_MATCH, NO_OVERLAP_S, find_llr, name_recipe, read_evidence
from engine.motion.matches import MotionMatch, RegionMatch
from tests.engine.motion.calibrated import make_calibration


def make_match(score: float, channels: float = 8.0, follows: bool = True) -> MotionMatch:
    correlation = 0.8 if follows else 0.0
    regions = tuple(RegionMatch(region, correlation, 9.0, channels) for region in MotionRegion)
    return MotionMatch(0, 100, Line(1.0, 0.0, False), score, 0.8, 75, regions)


def test_reads_score_seconds_and_following_channels() -> None:
    assert read_evidence(make_match(5.0)) == (5.0, (log(3.0), log(24.0)))
    assert read_evidence(make_match(5.0, follows=False)) == (5.0, (log(3.0), log(0.04)))
    assert read_evidence(None) == read_evidence(make_match(-7.0)) == (NO_MATCH, (log(NO_OVERLAP_S), log(0.04)))


@pytest.mark.parametrize(("score", "llr"), [(3.0, 0.0), (5.5, 2.5), (99.0, 4.0), (-3.0, -2.0)])
def test_the_ratio_is_bounded(score: float, llr: float) -> None:
    assert find_llr(make_calibration(), make_match(score)) == pytest.approx(llr)


def test_nothing_in_common_is_evidence_against() -> None:
    assert find_llr(make_calibration(), None) == -2


def test_still_faces_have_no_ratio() -> None:
    assert find_llr(make_calibration(), make_match(9.0, channels=2.0)) is None


def test_a_calibration_of_another_task_or_a_draft_is_refused() -> None:
    known = make_calibration()
    draft = seal(replace(known, id="", status=CalibrationStatus.DRAFT, approver=""))
    for wrong in (draft, seal(replace(known, id="", task=Task.VERIFICATION))):
        with pytest.raises(EngineError, match=r"is (draft|approved), for"):
            find_llr(wrong, make_match(5.0))


def test_the_recipe_names_the_rows() -> None:
    assert name_recipe("rows-a").startswith("motion+rows-a+options-") and name_recipe("rows-a") != name_recipe("rows-b")
    assert np.isfinite(NO_MATCH)
