"""Functions of the calibration notebook: stored scores, records, tables, plots."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from engine.calibration.files import read_record
from engine.calibration.records import CalibratorKind, Task
from engine.calibration.trials import write_trials
from engine.calibration.validation import HeldOutRatios, cross_validate
from engine.errors import Code
from engine.evaluation.score_overview import summarise_trials
from engine.metrics import trace_tippett
from engine.settings import Settings
from gallery_db.gallery import Gallery
from tests.engine.calibration.drawn import RECIPE, draw_search, draw_trials, make_record
from tests.raising import raises
from webapp.notebook import calibration as figures
from webapp.notebook.calibration import (
    Sources,
    keep_records,
    load_overview,
    load_trials,
    tabulate_discrimination,
    tabulate_metrics,
)


def show(table: Table) -> str:
    shown = StringIO()
    Console(width=160, file=shown).print(table)
    return shown.getvalue()


def test_stored_scores_replace_a_manifest(tmp_path: Path) -> None:
    write_trials(draw_search(), tmp_path / "scores.json")
    sources = Sources("", str(tmp_path / "scores.json"), Task.IDENTIFICATION)
    trials, remark = load_trials(sources, Settings(tmp_path))
    assert (trials.task, trials.recipe, remark) == (Task.IDENTIFICATION, RECIPE, "")
    seen = load_overview(sources, Settings(tmp_path))
    assert set(seen.scores) == {"same", "different"} and len(seen.scores["same"]) == trials.same.sum()
    with raises(Code.BAD_SCORES, match="for identification, not for consistency"):
        load_trials(Sources("", str(tmp_path / "scores.json"), Task.CONSISTENCY), Settings(tmp_path))


def test_draft_is_written_and_approved_record_only_with_approver(tmp_path: Path) -> None:
    record, settings = make_record(), Settings(tmp_path / "data")
    assert list(keep_records(record, "", tmp_path / "alone", None)) == [tmp_path / "alone" / "consistency-draft.json"]
    assert not settings.data_dir.exists()
    with raises(Code.BAD_CALIBRATION):
        keep_records(record, " ada ", tmp_path / "own", settings)  # its author
    assert not (tmp_path / "own").exists()
    written = keep_records(record, "Bob", tmp_path / "both", settings)
    assert [read_record(path) for path in written] == list(written.values())
    with Gallery.open(settings) as gallery:
        assert sorted(one.status for one in gallery.calibrations()) == ["approved", "draft"]


def test_tables_hold_every_figure_and_say_where_there_is_none() -> None:
    record = make_record()
    lines = show(tabulate_metrics(record)).splitlines()
    assert sum("cllr_cal" in line for line in lines) == len({one.condition for one in record.metrics})
    assert f"{record.metrics[0].value:.3f}" in "".join(lines)
    lengths = show(tabulate_discrimination(summarise_trials(draw_trials()).lengths, "length"))
    assert "whole" in lengths and "4 s" in lengths and "length" in lengths


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
