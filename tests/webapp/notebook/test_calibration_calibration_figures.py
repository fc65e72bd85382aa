"""The figures show the numbers that they are of."""

import numpy as np
import pytest

from engine.calibration.records import CalibratorKind
from engine.calibration.validation import HeldOutRatios, cross_validate
from engine.evaluation.score_overview import summarise_trials
from engine.metrics import trace_tippett
from tests.engine.calibration.drawn import draw_trials
from webapp.notebook import calibration as figures


@pytest.fixture(scope="module")
def held() -> HeldOutRatios:
    return cross_validate(draw_trials(), CalibratorKind.LOGISTIC)


def test_histograms_share_bins_and_name_how_many_there_are() -> None:
    figure = figures.plot_scores({"real": np.array([0.0, 1.0]), "dub": np.array([0.5])})
    first, second = figure.data
    assert (first.name, second.name) == ("real (2)", "dub (1)") and first.xbins == second.xbins
    assert first.histnorm == "probability density" and figure.layout.barmode == "overlay"


def test_error_curves_are_labelled_with_their_own_figures() -> None:
    curves = summarise_trials(draw_trials()).trace_errors()
    roc, det = figures.plot_roc(curves), figures.plot_det(curves)
    (curve,) = curves.values()
    assert roc.data[1].name == f"different: AUC {curve.auc():.3f}" and det.data[0].name.endswith(f"{curve.eer():.1%}")
    np.testing.assert_allclose(roc.data[1].y, 1 - curve.refused, atol=1e-5)
    assert "50.0%" not in det.layout.xaxis.ticktext and det.layout.xaxis.tickvals[4] == pytest.approx(-0.2533, abs=1e-3)


def test_lengths_carry_their_intervals_and_what_has_none_is_left_out() -> None:
    trials = draw_trials()
    partings = dict(summarise_trials(trials).lengths)
    figure = figures.plot_lengths(partings, "t", "s")
    assert list(figure.data[0].x) == list(partings) and len(partings) == 2
    found = partings["whole"]
    assert found.ci is not None and found.auc is not None
    at = list(partings).index("whole")
    assert figure.data[0].error_y.arrayminus[at] == pytest.approx(found.auc - found.ci[0], abs=1e-4)
    assert not figures.plot_lengths({}, "t", "s").data[0].x


def test_tippett_and_reliability_are_those_of_the_held_out_ratios(held: HeldOutRatios) -> None:
    same = held.trials.same
    tippett = figures.plot_tippett(held.llrs, same)
    traced = trace_tippett(held.llrs, same)
    np.testing.assert_allclose(tippett.data[0].y, traced.same, atol=1e-5)
    np.testing.assert_allclose(tippett.data[1].y, traced.different, atol=1e-5)
    reliability = figures.plot_reliability(held.llrs, same)
    assert sum(reliability.data[1].customdata) == len(held.trials)
