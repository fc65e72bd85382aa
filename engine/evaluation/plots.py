"""Plots of an evaluation, by Plotly (no other module of the engine needs it). Only `write_plots` has side effects."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.io import write_images

from engine.errors import EngineError
from engine.evaluation.groups import Grouping
from engine.evaluation.perturbations import OF_PICTURE, OF_SOUND, Perturbation
from engine.evaluation.results import ConsistencyResults, Discrimination, MethodResult
from engine.evaluation.robustness import PerturbationResult, RobustnessReport

N_BINS = 40
COLOURS = ("#2f7ed8", "#c2571a", "#4c9f70", "#a8559f", "#8a6d3b", "#5c5f66", "#b0413e")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
GRID, TEXT = "rgba(128,128,128,0.28)", "#808080"
SIZE_PX, SCALE = (960, 420), 1.25
N_METHODS, N_COLUMNS = 12, 3  # grid of histograms
Tried = Discrimination | MethodResult


def plot_consistency(figures: ConsistencyResults) -> dict[str, go.Figure]:
    """Plot the results of an evaluation; return the plots by file name."""
    drawn = {"methods": plot_conditions(figures.per_method, "Real clips against each method")}
    windows = {"best offset": figures.by_seconds}
    languages = {name: one.parting for name, one in figures.groups.get(Grouping.LANGUAGE, {}).items()}
    if languages:
        drawn["languages"] = plot_conditions(languages, "Real clips against others, by language")
    if figures.depth:
        if figures.depth.at_no_offset:
            windows["no offset"] = figures.depth.at_no_offset
        drawn["scores"] = plot_methods(figures.depth.scores)
        drawn["lengths"] = plot_lengths(figures.depth.by_first_s, "The beginnings of clips", "seconds")
        whole = {"nothing taken away": figures.parting} if figures.others != "labelled" else {}
        drawn["ablations"] = plot_conditions(whole | figures.depth.ablations, "Without a part")
    drawn["windows"] = plot_discrimination(windows, "Windows", "seconds")
    return drawn


def plot_scores(scores: Mapping[str, np.ndarray]) -> go.Figure:
    """Plot one histogram per kind, (n,) scores each, with common bins and unit area: small kinds stay visible."""
    bins, figure = _share_bins(list(scores.values()), N_BINS), go.Figure()
    for number, (name, values) in enumerate(scores.items()):
        figure.add_trace(_draw_histogram(values, bins, f"{name} ({len(values)})", COLOURS[number % len(COLOURS)]))
    figure.update_layout(barmode="overlay")
    return style_figure(figure, "Scores", "score", "density")


def plot_methods(scores: Mapping[str, Sequence[float]]) -> go.Figure:
    """Plot for each method, the most frequent first, a histogram of its scores over that of the first kind."""
    (first, real), *methods = ((name, np.asarray(values, float)) for name, values in scores.items())
    methods = sorted(methods, key=lambda one: -len(one[1]))[:N_METHODS]
    n_rows = max(1, -(-len(methods) // N_COLUMNS))
    titles = [f"{name} ({len(values)})" for name, values in methods]
    figure = go.Figure().set_subplots(
        n_rows, N_COLUMNS, subplot_titles=titles, shared_xaxes="all", vertical_spacing=0.3 / n_rows
    )
    bins = _share_bins([real, *(values for _, values in methods)], N_BINS * 2 // 3)
    for number, (_, values) in enumerate(methods):
        for colour, (name, some) in zip(COLOURS, ((first, real), ("method", values)), strict=False):
            trace = _draw_histogram(some, bins, name, colour).update(showlegend=number == 0)
            figure.add_trace(trace, row=number // N_COLUMNS + 1, col=number % N_COLUMNS + 1)
    figure = style_figure(figure, f"Scores: {first} ({len(real)}) and each method", "", "")
    figure.update_layout(barmode="overlay", height=150 + 170 * n_rows, legend={"y": -0.12})
    return figure


def plot_conditions(partings: Mapping[str, Tried], title: str) -> go.Figure:
    """Plot the AUC of each condition with its 95 % interval, in order from the top."""
    points = [
        (name, one.auc, one.ci or (one.auc, one.auc), _count(one))
        for name, one in partings.items()
        if one.auc is not None
    ]
    points.reverse()  # axes start at the bottom
    trace = go.Scatter(
        x=[round(value, 4) for _, value, _, _ in points],
        y=[f"{name} ({n})" for name, _, _, n in points],
        error_x={
            "array": [round(max(high - value, 0.0), 4) for _, value, (_, high), _ in points],
            "arrayminus": [round(max(value - low, 0.0), 4) for _, value, (low, _), _ in points],
        },
        mode="markers",
        marker={"color": COLOURS[0], "size": 9},
        name="AUC",
    )
    figure = style_figure(go.Figure(trace), title, "AUC", "")
    figure.add_vline(x=0.5, line={"color": TEXT, "dash": "dot", "width": 1})
    figure.update_layout(height=150 + 30 * len(points), showlegend=False)
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(range=[-0.02, 1.02])
    return figure


def plot_lengths(partings: Mapping[str, Discrimination], title: str, what: str) -> go.Figure:
    """Plot the AUC with its 95 % interval for each length or condition, in order; those without an AUC are left out."""
    return plot_discrimination({"AUC": partings}, title, what)


def plot_discrimination(lines: Mapping[str, Mapping[str, Discrimination]], title: str, what: str) -> go.Figure:
    """Plot several lines of AUC with 95 % intervals over one set of lengths or conditions."""
    figure, lowest = go.Figure(), 0.4
    for number, (name, partings) in enumerate(lines.items()):
        values = {key: (one.auc, one.ci or (one.auc, one.auc)) for key, one in partings.items() if one.auc is not None}
        lowest = min([lowest, *(low for _, (low, _) in values.values())])
        colour, dash = line_style(number)
        points = go.Scatter(
            x=list(values),
            y=[round(value, 4) for value, _ in values.values()],
            error_y={
                "array": [round(max(high - value, 0.0), 4) for value, (_, high) in values.values()],
                "arrayminus": [round(max(value - low, 0.0), 4) for value, (low, _) in values.values()],
            },
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            name=name,
        )
        figure.add_trace(points)
    figure = style_figure(figure, title, what, "AUC")
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[lowest, 1.02])
    return figure


def plot_robustness(report: RobustnessReport) -> go.Figure:
    """Plot the AUC and the share in the zone `against` over the levels, one line per perturbation.

    Level 0 is unperturbed. The share counts every score without gates, since the gates refuse short clips.
    """
    groups = {"picture": OF_PICTURE, "sound": OF_SOUND}
    there = {name: kinds for name, kinds in groups.items() if any(one.step.kind in kinds for one in report.outcomes)}
    titles = [f"{name}: {what}" for what in ("AUC", "real clips called against") for name in there]
    figure = go.Figure().set_subplots(2, max(1, len(there)), shared_xaxes=True, subplot_titles=titles)
    plain = [one for one in report.outcomes if one.step.kind is None]
    for column, kinds in enumerate(there.values(), start=1):
        for number, kind in enumerate(kinds):
            outcomes = [one for one in report.outcomes if one.step.kind == kind]
            if outcomes:
                ordered = sorted([*plain, *outcomes], key=lambda one: one.step.level)
                for row, trace in enumerate(_trace(kind, ordered, number), start=1):
                    figure.add_trace(trace, row=row, col=column)
    figure = style_figure(figure, f"{report.n_clips} clips of up to {report.seconds:g} s made worse", "", "")
    figure.update_layout(height=640)
    figure.update_xaxes(title="level", dtick=1, row=2)
    lowest = min([0.5, *(one.parting.auc for one in report.outcomes if one.parting.auc is not None)])
    highest = max([0.5, *(one.doubted.share for one in report.outcomes if one.doubted)])
    figure.update_yaxes(range=[lowest - 0.02, 1.02], row=1)  # starts at chance, so that small losses look small
    figure.update_yaxes(range=[-0.02, highest + 0.02], row=2)
    return figure


def style_figure(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """Set titles, and colours that are readable on light and dark backgrounds."""
    figure.update_layout(
        title=title,
        height=380,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT},
        showlegend=True,
        legend={"orientation": "h", "y": -0.25},
    )
    figure.update_xaxes(title=x, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title=y, gridcolor=GRID, zeroline=False)
    return figure


def line_style(number: int) -> tuple[str, str]:
    """Return colour and dash, so that lines differ in more than colour."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def write_plots(figures: Mapping[str, go.Figure], folder: Path) -> None:
    """Write each plot as NAME.html, which loads plotly.min.js from the same folder, and as NAME.png.

    Raises EngineError if the folder cannot be written, or if kaleido or a browser is missing (after the .html files).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.write_html(folder / f"{name}.html", include_plotlyjs="directory")
    except OSError as cause:
        raise EngineError(f"{folder} cannot be written: {cause.strerror}.", "Choose another place.") from cause
    write_pictures(figures, folder)


def write_pictures(figures: Mapping[str, go.Figure], folder: Path) -> None:
    """Write each plot as NAME.png with kaleido and Chrome or Chromium; raise EngineError if one is missing."""
    width, height = SIZE_PX
    try:
        write_images(
            fig=list(figures.values()),
            file=[folder / f"{name}.png" for name in figures],
            width=[width] * len(figures),
            height=[figure.layout.height or height for figure in figures.values()],
            scale=SCALE,
        )
    except (OSError, ValueError, ImportError, RuntimeError) as cause:
        reason = str(cause).strip().splitlines()
        raise EngineError(
            f"The PNGs in {folder} were not drawn: {reason[0] if reason else 'unknown reason'}",
            "They need `pip install 'wayspeak[figures]'` and Chrome or Chromium; .html needs neither.",
        ) from cause


def _trace(kind: Perturbation, outcomes: Sequence[PerturbationResult], number: int) -> tuple[go.Scatter, go.Scatter]:
    """Return the line of the AUC, with its legend entry, and the line of the share in the zone `against`."""
    colour, dash = line_style(number)
    levels = [one.step.level for one in outcomes]
    aucs = [one.parting.auc for one in outcomes]
    alarms = [one.doubted.share if one.doubted else None for one in outcomes]
    common = {"mode": "lines+markers", "line": {"color": colour, "dash": dash}, "legendgroup": str(kind)}
    return (
        go.Scatter(x=levels, y=aucs, name=str(kind), **common),
        go.Scatter(x=levels, y=alarms, name=str(kind), showlegend=False, **common),
    )


def _share_bins(scores: Sequence[np.ndarray], n_bins: int) -> dict[str, float]:
    everything = np.concatenate(scores)
    low, high = float(everything.min()), float(everything.max())
    return {"start": low, "end": high + 1e-9, "size": max(high - low, 1e-6) / n_bins}


def _draw_histogram(values: np.ndarray, bins: dict[str, float], name: str, colour: str) -> go.Histogram:
    return go.Histogram(
        x=values.round(4), xbins=bins, histnorm="probability density", name=name, opacity=0.55, marker={"color": colour}
    )


def _count(one: Tried) -> str:
    return f"{one.n}" if isinstance(one, MethodResult) else f"{one.n_real}, {one.n_other}"
