"""Figures of an evaluation, by Plotly, which nothing else of the engine needs. Pure, but for `write_figure`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from engine.errors import EngineError
from engine.evaluation.figures import Parting
from engine.evaluation.perturbations import OF_PICTURE, OF_SOUND, Perturbation
from engine.evaluation.robustness import Outcome, RobustnessReport

N_BINS = 40
COLOURS = ("#2f7ed8", "#c2571a", "#4c9f70", "#a8559f", "#8a6d3b", "#5c5f66", "#b0413e")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
GRID, TEXT = "rgba(128,128,128,0.28)", "#808080"
SIZE_PX = 960, 420


def plot_scores(scores: Mapping[str, np.ndarray]) -> go.Figure:
    """Draw a histogram a kind, (n,) scores each, on one set of bins and each of one area: few are seen beside many."""
    everything = np.concatenate(list(scores.values()))
    low, high = float(everything.min()), float(everything.max())
    bins = {"start": low, "end": high + 1e-9, "size": max(high - low, 1e-6) / N_BINS}
    figure = go.Figure()
    for number, (name, values) in enumerate(scores.items()):
        figure.add_trace(
            go.Histogram(
                x=values.round(4),
                xbins=bins,
                histnorm="probability density",
                name=f"{name} ({len(values)})",
                opacity=0.55,
                marker={"color": COLOURS[number % len(COLOURS)]},
            )
        )
    figure.update_layout(barmode="overlay")
    return dress(figure, "Scores", "score", "density")


def plot_lengths(partings: Mapping[str, Parting], title: str, what: str) -> go.Figure:
    """Draw the AUC with its 95 % interval for each length or condition, in their order; what has none is left out."""
    return plot_partings({"AUC": partings}, title, what)


def plot_partings(lines: Mapping[str, Mapping[str, Parting]], title: str, what: str) -> go.Figure:
    """Draw several lines of AUC with their 95 % intervals over one set of lengths or conditions."""
    figure, lowest = go.Figure(), 0.4
    for number, (name, partings) in enumerate(lines.items()):
        told = {key: (one.auc, one.ci or (one.auc, one.auc)) for key, one in partings.items() if one.auc is not None}
        lowest = min([lowest, *(low for _, (low, _) in told.values())])
        colour, dash = style(number)
        points = go.Scatter(
            x=list(told),
            y=[round(value, 4) for value, _ in told.values()],
            error_y={
                "array": [round(max(high - value, 0.0), 4) for value, (_, high) in told.values()],
                "arrayminus": [round(max(value - low, 0.0), 4) for value, (low, _) in told.values()],
            },
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            name=name,
        )
        figure.add_trace(points)
    figure = dress(figure, title, what, "AUC")
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[lowest, 1.02])
    return figure


def plot_robustness(report: RobustnessReport) -> go.Figure:
    """Draw the AUC and the false alarms over the levels, a line for each thing done; level 0 is the clip as it is."""
    figure = go.Figure().set_subplots(
        2, 2, shared_xaxes=True, subplot_titles=("picture: AUC", "sound: AUC", "false alarms", "false alarms")
    )
    plain = next((one for one in report.outcomes if one.step.kind is None), None)
    for column, kinds in ((1, OF_PICTURE), (2, OF_SOUND)):
        for number, kind in enumerate(kinds):
            outcomes = [one for one in report.outcomes if one.step.kind == kind]
            if outcomes:
                ordered = sorted([*([plain] if plain else []), *outcomes], key=lambda one: one.step.level)
                for row, trace in enumerate(_trace(kind, ordered, number), start=1):
                    figure.add_trace(trace, row=row, col=column)
    figure = dress(figure, f"{report.n_clips} clips made worse", "", "")
    figure.update_layout(height=640)
    figure.update_xaxes(title="level", dtick=1, row=2)
    return figure


def dress(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    """Titles, and colours that read on light and on dark."""
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


def style(number: int) -> tuple[str, str]:
    """Colour and dash, so that neither has to be told by colour alone."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def write_figure(figure: go.Figure, path: Path) -> None:
    """Write .html, which needs nothing from the web, or .png, which kaleido draws with an installed Chrome or Chromium.

    Raises EngineError for another ending, where kaleido or the browser is missing, and where nothing can be written.
    """
    try:
        if path.suffix.lower() == ".html":
            figure.write_html(path, include_plotlyjs=True)
        elif path.suffix.lower() == ".png":
            width, height = SIZE_PX
            figure.write_image(path, width=width, height=figure.layout.height or height, scale=1.5)
        else:
            raise EngineError(f"A figure cannot be written as {path.name!r}.", "Let it end in .html or .png.")
    except OSError as cause:
        raise EngineError(f"{path} cannot be written: {cause.strerror}.", "Choose another place.") from cause
    except (ValueError, ImportError, RuntimeError) as cause:
        raise EngineError(
            f"{path.name} was not drawn: {str(cause).splitlines()[0] if str(cause) else 'no reason is told'}",
            "PNG needs `pip install kaleido` and Chrome or Chromium; .html needs neither.",
        ) from cause


def _trace(kind: Perturbation, outcomes: Sequence[Outcome], number: int) -> tuple[go.Scatter, go.Scatter]:
    """The line of AUC, with its name in the legend, and that of false alarms."""
    colour, dash = style(number)
    levels = [one.step.level for one in outcomes]
    aucs = [one.parting.auc for one in outcomes]
    alarms = [one.false_alarms.share if one.false_alarms else None for one in outcomes]
    common = {"mode": "lines+markers", "line": {"color": colour, "dash": dash}, "legendgroup": str(kind)}
    return (
        go.Scatter(x=levels, y=aucs, name=str(kind), **common),
        go.Scatter(x=levels, y=alarms, name=str(kind), showlegend=False, **common),
    )
