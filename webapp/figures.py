"""The two figures of a face: consistency over time, similarity over the offset of the sound. Pure; plotly alone."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from engine.types import SyncCurve, Window

LINE, MARK, SECOND = "#2f7ed8", "#c2571a", "#a8559f"
GRID, TEXT = "rgba(128,128,128,0.28)", "#808080"


def plot_timeline(windows: Sequence[Window], duration_s: float) -> go.Figure:
    """Draw a point a window; its custom datum is the second to which a click moves the player."""
    shown = _break_gaps(windows)
    middles = [None if w is None else (w.start_s + w.end_s) / 2 for w in shown]
    trace = go.Scatter(
        x=middles,
        y=[None if w is None else w.score for w in shown],
        customdata=[[0.0, 0.0, 0.0] if w is None else [w.start_s, w.end_s, w.offset_s] for w in shown],
        mode="lines+markers",
        line={"color": LINE, "width": 2},
        marker={"size": 10, "color": LINE},
        hovertemplate="%{customdata[0]:.1f} to %{customdata[1]:.1f} s<br>score %{y:.3f}, uncalibrated"
        "<br>offset %{customdata[2]:+.2f} s<br><i>click: play from here</i><extra></extra>",
        name="consistency",
    )
    figure = go.Figure(trace)
    figure.update_xaxes(title="time in the video, s", range=[0, max(duration_s, 1.0)])
    figure.update_yaxes(title="score, uncalibrated", range=_span([w.score for w in windows]))
    figure.update_layout(title="Consistency over time: click to play", hovermode="closest")
    return _dress(figure)


def plot_curve(curve: SyncCurve) -> go.Figure:
    """Draw the mean similarity of all real pairs for every offset of the sound, its best marked."""
    figure = go.Figure([*_trace_curve(curve, "similarity", LINE, MARK)])
    figure.add_vline(x=0, line={"color": TEXT, "dash": "dot", "width": 1})
    figure.update_xaxes(title="sound offset, s (+ is late)")
    figure.update_yaxes(title="mean similarity", range=_span(_known(curve.similarity)))
    figure.update_layout(title="Similarity over the offset")
    return _dress(figure)


def plot_curves(first: tuple[str, SyncCurve], second: tuple[str, SyncCurve]) -> go.Figure:
    """Draw two models' curves over one offset; each on an axis of its own, since their scales are not comparable."""
    figure = plot_curve(first[1])
    figure.data[0].name = first[0]
    line, best = _trace_curve(second[1], second[0], SECOND, SECOND)
    below = best.textposition.replace("top", "bottom")  # so that the two words do not lie on each other
    figure.add_traces([line.update(yaxis="y2", line_dash="dash"), best.update(yaxis="y2", textposition=below)])
    for mark in (figure.data[1], figure.data[3]):
        mark.showlegend = False
    own = {"title": second[0], "range": _span(_known(second[1].similarity), 0.25), "side": "right", "overlaying": "y"}
    figure.update_layout(
        title_text="Two models, each on its own scale",
        height=340,
        yaxis={"title": first[0], "color": LINE, "range": _span(_known(first[1].similarity), 0.25)},
        yaxis2=own | {"color": SECOND, "showgrid": False, "zeroline": False},
        showlegend=True,
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 56, "r": 56, "t": 48, "b": 48},
    )
    return figure


def _trace_curve(curve: SyncCurve, name: str, colour: str, mark: str) -> tuple[go.Scatter, go.Scatter]:
    """The line, and its best offset; offsets with too few pairs leave a gap."""
    best = int(np.nanargmax(curve.similarity))
    line = go.Scatter(
        x=curve.offsets_s.round(3),
        y=[None if np.isnan(value) else round(float(value), 4) for value in curve.similarity],
        customdata=curve.pairs,
        mode="lines",
        line={"color": colour, "width": 2},
        hovertemplate="offset %{x:+.2f} s<br>similarity %{y:.3f}<br>%{customdata} pairs<extra></extra>",
        name=name,
    )
    point = go.Scatter(
        x=[round(float(curve.offsets_s[best]), 3)],
        y=[round(float(curve.similarity[best]), 4)],
        mode="markers+text",
        marker={"size": 11, "symbol": "diamond", "color": mark},
        text=[f"best {float(curve.offsets_s[best]):+.2f} s"],
        textposition=f"top {_place_word(best, len(curve.similarity))}",
        hoverinfo="skip",
        name="best",
    )
    return line, point


def _place_word(at: int, length: int) -> str:
    """Tell on which side of a point a word stays within the figure."""
    return "right" if at < length / 4 else "left" if at > 3 * length / 4 else "center"


def _known(values: np.ndarray) -> list[float]:
    return [float(value) for value in values if np.isfinite(value)]


def _break_gaps(windows: Sequence[Window]) -> list[Window | None]:
    """The windows with a None where one or more are missing in between, so that no line bridges it."""
    starts = np.array([w.start_s for w in windows])
    hop = float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0
    shown: list[Window | None] = []
    for before, window in zip([None, *windows], windows, strict=False):
        if before is not None and window.start_s - before.start_s > 1.5 * hop:
            shown.append(None)
        shown.append(window)
    return shown


def _span(values: Sequence[float], margin: float = 0.12) -> list[float]:
    """From a little below the least, or zero, to a little above the greatest and at least 0.5."""
    low, high = min([0.0, *values]), max([0.5, *values])
    room = margin * (high - low)
    return [low - room, high + room]


def _dress(figure: go.Figure) -> go.Figure:
    """Colours that read on light and on dark, room for narrow screens."""
    figure.update_layout(
        height=300,
        margin={"l": 56, "r": 16, "t": 48, "b": 48},
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": TEXT, "size": 13},
        title_font_size=15,
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    return figure
