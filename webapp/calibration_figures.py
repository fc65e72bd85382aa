"""The figures of a calibration: scores by method, both errors, lengths, and how far ratios can be believed. Pure."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from scipy.stats import norm

from engine.evaluation.figures import Parting
from engine.likelihoods import trace_reliability, trace_tippett
from engine.metrics import ErrorCurve

N_BINS = 40
COLOURS = ("#2f7ed8", "#c2571a", "#4c9f70", "#a8559f", "#8a6d3b", "#5c5f66")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GRID, TEXT = "rgba(128,128,128,0.28)", "#808080"
TICKS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)  # of a DET plot


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
    return _dress(figure, "Scores", "score", "density")


def plot_roc(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Draw for each kind what share of the first is accepted while a share of the others is."""
    figure = go.Figure(_line([0, 1], [0, 1], "chance", TEXT, "dot"))
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}: AUC {curve.auc():.3f}"
        figure.add_trace(_line(curve.accepted, 1 - curve.refused, label, *_style(number)))
    return _dress(figure, "ROC", "of the others accepted", "of the first accepted")


def plot_det(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Draw both errors on normal axes (Martin et al. 1997): scores that are normal make a straight line."""
    figure = go.Figure()
    for number, (name, curve) in enumerate(curves.items()):
        accepted, refused = curve.trace_det()
        figure.add_trace(_line(accepted, refused, f"{name}: EER {curve.eer():.1%}", *_style(number)))
    figure = _dress(figure, "DET", "of the others accepted", "of the first refused")
    places = {"tickvals": norm.ppf(TICKS).tolist(), "ticktext": [f"{share:.1%}" for share in TICKS]}
    figure.update_xaxes(**places)
    figure.update_yaxes(**places)
    return figure


def plot_lengths(partings: Mapping[str, Parting], title: str, what: str) -> go.Figure:
    """Draw the AUC with its 95 % interval for each length or condition, in their order; what has none is left out."""
    told = {name: (one.auc, one.ci or (one.auc, one.auc)) for name, one in partings.items() if one.auc is not None}
    points = go.Scatter(
        x=list(told),
        y=[round(value, 4) for value, _ in told.values()],
        error_y={
            "array": [round(max(high - value, 0.0), 4) for value, (_, high) in told.values()],
            "arrayminus": [round(max(value - low, 0.0), 4) for value, (low, _) in told.values()],
        },
        mode="lines+markers",
        line={"color": COLOURS[0]},
        name="AUC",
    )
    figure = _dress(go.Figure(points), title, what, "AUC")
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[min([0.4, *[low for _, (low, _) in told.values()]]), 1.02])
    return figure


def plot_tippett(llrs: np.ndarray, same: np.ndarray) -> go.Figure:
    """Draw the share of either hypothesis's trials (N,) whose log10 LR is at least so high.

    What misleads is right of 0 on the second's curve and left of it, missing from 1, on the first's.
    """
    traced = trace_tippett(llrs, same)
    figure = go.Figure(
        [
            _line(traced.llrs, traced.same, "first hypothesis true", COLOURS[0], "solid", step=True),
            _line(traced.llrs, traced.different, "second hypothesis true", COLOURS[1], "dash", step=True),
        ]
    )
    figure.add_vline(x=0, line={"color": TEXT, "dash": "dot", "width": 1})
    return _dress(figure, "Tippett", "log10 likelihood ratio", "share at least so high")


def plot_reliability(llrs: np.ndarray, same: np.ndarray) -> go.Figure:
    """Draw what was said of trials (N,) at even odds against what was so; on the diagonal both are one."""
    traced = trace_reliability(llrs, same)
    points = _line(traced.said, traced.found, "trials in bins of one size", COLOURS[0], "solid")
    points.update(mode="lines+markers", customdata=traced.counts, hovertemplate="%{customdata} trials<extra></extra>")
    figure = go.Figure([_line([0, 1], [0, 1], "as said", TEXT, "dot"), points])
    return _dress(figure, "Reliability", "said, at even odds", "so")


def _line(
    x: np.ndarray | list[float], y: np.ndarray | list[float], name: str, colour: str, dash: str, step: bool = False
) -> go.Scatter:
    places = {"x": np.asarray(x, float).round(5), "y": np.asarray(y, float).round(5)}
    shape = "hv" if step else "linear"
    return go.Scatter(**places, name=name, mode="lines", line={"color": colour, "dash": dash, "shape": shape})


def _style(number: int) -> tuple[str, str]:
    """Colour and dash, so that neither has to be told by colour alone."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def _dress(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
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
