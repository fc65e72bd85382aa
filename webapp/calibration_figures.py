"""The figures of a calibration: scores by method, both errors, lengths, and how far ratios can be believed. Pure."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from scipy.stats import norm

from engine.evaluation.plots import COLOURS, TEXT, dress, plot_lengths, plot_scores, style
from engine.metrics import ErrorCurve, trace_reliability, trace_tippett

__all__ = ["plot_det", "plot_lengths", "plot_reliability", "plot_roc", "plot_scores", "plot_tippett"]

TICKS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999)  # of a DET plot


def plot_roc(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Draw for each kind what share of the first is accepted while a share of the others is."""
    figure = go.Figure(_line([0, 1], [0, 1], "chance", TEXT, "dot"))
    for number, (name, curve) in enumerate(curves.items()):
        label = f"{name}: AUC {curve.auc():.3f}"
        figure.add_trace(_line(curve.accepted, 1 - curve.refused, label, *style(number)))
    return dress(figure, "ROC", "of the others accepted", "of the first accepted")


def plot_det(curves: Mapping[str, ErrorCurve]) -> go.Figure:
    """Draw both errors on normal axes (Martin et al. 1997): scores that are normal make a straight line."""
    figure = go.Figure()
    for number, (name, curve) in enumerate(curves.items()):
        accepted, refused = curve.trace_det()
        figure.add_trace(_line(accepted, refused, f"{name}: EER {curve.eer():.1%}", *style(number)))
    figure = dress(figure, "DET", "of the others accepted", "of the first refused")
    places = {"tickvals": norm.ppf(TICKS).tolist(), "ticktext": [f"{share:.1%}" for share in TICKS]}
    figure.update_xaxes(**places)
    figure.update_yaxes(**places)
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
    return dress(figure, "Tippett", "log10 likelihood ratio", "share at least so high")


def plot_reliability(llrs: np.ndarray, same: np.ndarray) -> go.Figure:
    """Draw what was said of trials (N,) at even odds against what was so; on the diagonal both are one."""
    traced = trace_reliability(llrs, same)
    points = _line(traced.said, traced.found, "trials in bins of one size", COLOURS[0], "solid")
    points.update(mode="lines+markers", customdata=traced.counts, hovertemplate="%{customdata} trials<extra></extra>")
    figure = go.Figure([_line([0, 1], [0, 1], "as said", TEXT, "dot"), points])
    return dress(figure, "Reliability", "said, at even odds", "so")


def _line(
    x: np.ndarray | list[float], y: np.ndarray | list[float], name: str, colour: str, dash: str, step: bool = False
) -> go.Scatter:
    places = {"x": np.asarray(x, float).round(5), "y": np.asarray(y, float).round(5)}
    shape = "hv" if step else "linear"
    return go.Scatter(**places, name=name, mode="lines", line={"color": colour, "dash": dash, "shape": shape})
