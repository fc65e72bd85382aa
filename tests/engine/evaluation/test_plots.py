"""Figures show the evaluated numbers and are written to the requested place, or name the missing package."""

import struct
from pathlib import Path

import plotly.graph_objects as go
import pytest

from engine.errors import EngineError
from engine.evaluation import plots
from engine.evaluation.perturbations import Perturbation
from engine.evaluation.results import ConsistencyResults, Depth, Discrimination, GroupResult, MethodResult, Share
from engine.evaluation.robustness import UNTOUCHED, PerturbationResult, RobustnessReport, Step


def parted(auc: float | None) -> Discrimination:
    ci = None if auc is None else (max(0.0, auc - 0.1), min(1.0, auc + 0.05))
    return Discrimination(auc, 0.2, 0.8, ci, "people", 9, 30)


def figures(depth: Depth | None) -> ConsistencyResults:
    against = {"dub": MethodResult(0.9, 4, (0.7, 1.0), "people"), "puppet": MethodResult(0.2, 3, None, None)}
    return ConsistencyResults(
        others="swapped voice",
        parting=parted(0.95),
        per_method=against,
        by_seconds={"1": parted(0.7), "2": parted(0.8)},
        control=parted(0.5),
        depth=depth,
        groups={"language": {name: GroupResult(parted(auc), None, 0) for name, auc in (("en", 0.9), ("de", None))}},
    )


def look_deep() -> Depth:
    scores = {"real": (0.5, 0.6, 0.7), "dub": (0.1, 0.2), "puppet": (0.6, 0.65, 0.7)}
    parts = {"1": parted(0.75), "4": parted(0.96)}
    return Depth(scores, parts, {"1": parted(0.6), "2": parted(0.65)}, {"faces held still": parted(0.5)})


def test_every_figure_of_an_evaluation_is_drawn() -> None:
    plain, deep = plots.plot_consistency(figures(None)), plots.plot_consistency(figures(look_deep()))
    assert set(plain) == {"methods", "languages", "windows"}
    assert set(deep) == {*plain, "scores", "lengths", "ablations"}
    assert [line.name for line in deep["windows"].data] == ["best offset", "no offset"]
    assert list(deep["windows"].data[1].y) == [0.6, 0.65]
    assert list(deep["lengths"].data[0].x) == ["1", "4"]
    assert list(deep["ablations"].data[0].y) == ["faces held still (9, 30)", "nothing taken away (9, 30)"]


def test_conditions_are_listed_top_down_with_intervals() -> None:
    (points,) = plots.plot_conditions({"a": parted(0.9), "none": parted(None), "b": parted(0.4)}, "t").data
    assert list(points.y) == ["b (9, 30)", "a (9, 30)"] and list(points.x) == [0.4, 0.9]  # axes begin below
    assert list(points.error_x.arrayminus) == pytest.approx([0.1, 0.1])
    assert list(points.error_x.array) == pytest.approx([0.05, 0.05])
    (points,) = plots.plot_conditions({"one": MethodResult(0.0, 3, None, None)}, "t").data
    assert list(points.x) == [0.0] and list(points.error_x.array) == [0.0]


def test_each_method_is_drawn_over_the_real_scores_in_bins_that_all_share() -> None:
    figure = plots.plot_methods(look_deep().scores)
    assert [note.text for note in figure.layout.annotations] == ["puppet (3)", "dub (2)"]  # the most frequent first
    assert [trace.name for trace in figure.data] == ["real", "method", "real", "method"]
    assert len({str(trace.xbins) for trace in figure.data}) == 1
    assert list(figure.data[1].x) == [0.6, 0.65, 0.7]
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False]


def test_robustness_is_drawn_over_its_levels_from_the_clip_as_it_is() -> None:
    kind = Perturbation.BLUR
    outcomes = tuple(
        PerturbationResult(step, parted(0.9 - step.level / 10), None, 0, (), Share(step.level / 10, None, None, 9))
        for step in (UNTOUCHED, Step(kind, 5), Step(kind, 1))
    )
    figure = plots.plot_robustness(RobustnessReport("r", "id", "swapped voice", 4.0, 9, outcomes))
    assert [note.text for note in figure.layout.annotations] == ["picture: AUC", "picture: real clips called against"]
    aucs, alarms = figure.data
    assert aucs.name == "Gaussian blur" and list(aucs.x) == [0, 1, 5]
    assert figure.layout.yaxis.range[0] < 0.4 and figure.layout.yaxis2.range[1] > 0.5  # nothing is cut off
    assert list(aucs.y) == pytest.approx([0.9, 0.8, 0.4]) and list(alarms.y) == pytest.approx([0, 0.1, 0.5])


def test_pages_and_pictures_are_written_and_need_nothing_from_the_web(tmp_path: Path) -> None:
    plots.write_plots({"one": plots.plot_lengths({"1": parted(0.7)}, "t", "s")}, tmp_path / "made")
    page = (tmp_path / "made" / "one.html").read_text()
    assert (tmp_path / "made" / "plotly.min.js").is_file() and 'src="http' not in page
    head = (tmp_path / "made" / "one.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (1200, 475)


@pytest.mark.parametrize("cause", [ValueError("Kaleido is not there\nmore"), RuntimeError(""), ImportError("kaleido")])
def test_missing_browser_is_reported_and_html_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    def write_images(**arguments: object) -> None:
        raise cause

    monkeypatch.setattr(plots, "write_images", write_images)
    with pytest.raises(EngineError) as result:
        plots.write_plots({"one": go.Figure()}, tmp_path)
    assert "wayspeak[figures]" in result.value.hint and "more" not in result.value.message
    assert (tmp_path / "one.html").is_file()


def test_uncreatable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        plots.write_plots({"one": go.Figure()}, tmp_path / "file")
