"""Plotly figures: scores over time and offset, audio and mouth, clips of speakers, metrics."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from engine.calibration.records import Metric
from engine.types import FPS, Span, SpanKind, SyncCurve, Window
from gallery_db.records import StoredSample
from webapp.analysis.signals import BANDS_HZ, STEPS_PER_FRAME, Gate, Traces, Turn
from webapp.i18n import say

LINE, MARK, SECOND = "#2f7ed8", "#c2571a", "#a8559f"
SIGNS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon", "pentagon", "triangle-down")
MANY_CLIPS = 2000  # maximum of plotted clips; the latest are shown
FOREIGN = "rgba(194,87,26,0.16)"  # MARK, light
GRID, TEXT = "rgba(128,128,128,0.28)", "#808080"
GATES = {  # colour and pattern, so that colour is not the only difference
    Gate.COMPARED: ("#4c9f70", ""),
    Gate.NO_FACE: ("#c2571a", "x"),
    Gate.NO_SPEECH: ("#9a9da5", "/"),
    Gate.NO_SOUND: ("#5c5f66", "."),
}


def plot_timeline(
    windows: Sequence[Window],
    duration_s: float,
    gates: Sequence[tuple[float, float, Gate]] = (),
    from_s: float = 0.0,
    spans: Sequence[Span] = (),
) -> go.Figure:
    """Plot one point per window; its custom datum is the second to which a click moves the player.

    Spans in which another voice speaks are marked.

    The axis shows the analysed part, `duration_s` from `from_s` on. A strip below shows what could be compared at each
    time, if `gates` are given.
    """
    shown = _break_gaps(windows)
    middles = [None if w is None else (w.start_s + w.end_s) / 2 for w in shown]
    trace = go.Scatter(
        x=middles,
        y=[None if w is None else w.score for w in shown],
        customdata=[[0.0, 0.0, 0.0] if w is None else [w.start_s, w.end_s, w.offset_s] for w in shown],
        mode="lines+markers",
        line={"color": LINE, "width": 2},
        marker={"size": 10, "color": LINE},
        hovertemplate=f"%{{customdata[0]:.1f}} – %{{customdata[1]:.1f}} s<br>{say('raw score')} %{{y:.3f}}"
        f"<br>{say('offset')} %{{customdata[2]:+.2f}} s<br><i>{say('click: play from here')}</i><extra></extra>",
        name=say("consistency"),
    )
    figure = go.Figure(trace)
    for start_s, end_s in _list_holes(windows):
        label = {"annotation_text": say("no evidence"), "annotation_font_size": 11}
        figure.add_vrect(start_s, end_s, fillcolor=GRID, line_width=0, layer="below", **label)
    for span in spans:
        if span.kind == SpanKind.INCONSISTENT:
            label = {"annotation_text": say("another voice"), "annotation_font": {"size": 11, "color": MARK}}
            edge = {"color": MARK, "width": 1, "dash": "dash"}
            figure.add_vrect(span.start_s, span.end_s, fillcolor=FOREIGN, line=edge, layer="below", **label)
    figure.update_xaxes(title=say("time in the video, s"), range=[from_s, from_s + max(duration_s, 1.0)])
    figure.update_yaxes(title=say("raw score"), range=_span([w.score for w in windows]))
    figure.update_layout(title=say("Consistency over time: click to play"), hovermode="closest")
    return _add_strip(_style(figure), gates) if gates else _style(figure)


def plot_seconds(traces: Traces, face: int, start_s: float, end_s: float) -> go.Figure:
    """Plot the mel bands of the audio and over them the mouth opening of one face."""
    zero_s = traces.start_s
    first, last = round((start_s - zero_s) * FPS), min(round((end_s - zero_s) * FPS), len(traces.voiced))
    bands = traces.bands[first * STEPS_PER_FRAME : last * STEPS_PER_FRAME].astype(np.float32)
    times = (np.arange(len(bands)) + 0.5) / (FPS * STEPS_PER_FRAME) + first / FPS + zero_s
    sound = go.Heatmap(
        x=times.round(3), y=_list_bands(bands.shape[1]), z=bands.T.round(2), colorscale="Greys", showscale=False
    )
    sound.update(hovertemplate="%{x:.2f} s<br>%{y:.0f} Hz<extra></extra>", name=say("sound"))
    own = traces.faces[face]
    frames = np.arange(max(first, own.start), min(last, own.start + len(own.seen)))
    rows = frames - own.start
    opening = [float(own.opening[row]) if own.seen[row] else None for row in rows]
    mouth = go.Scatter(
        x=(frames / FPS + zero_s).round(3), y=opening, yaxis="y2", mode="lines", name=say("mouth opening")
    )
    mouth.update(line={"color": SECOND, "width": 3}, hovertemplate="%{x:.2f} s<br>%{y:.2f}<extra></extra>")
    figure = go.Figure([sound, mouth])
    figure.update_xaxes(title=say("time in the video, s"), range=[first / FPS + zero_s, last / FPS + zero_s])
    figure.update_yaxes(title=say("sound, Hz"), type="log")
    right = {"overlaying": "y", "side": "right", "type": "linear", "rangemode": "tozero", "showgrid": False}
    figure.update_layout(
        title=say("Sound and mouth, {start} to {end} s", start=f"{start_s:.1f}", end=f"{end_s:.1f}"),
        yaxis2=right | {"title": say("mouth opening"), "color": SECOND},
    )
    figure = _style(figure)
    figure.update_layout(margin_r=64)
    return figure


def plot_comparison(timelines: Sequence[tuple[str, Sequence[Window]]]) -> go.Figure:
    """Plot two timelines in one figure; gaps stay gaps."""
    figure = go.Figure()
    for (name, windows), colour, sign in zip(timelines, (LINE, MARK), ("circle", "square"), strict=False):
        shown = _break_gaps(windows)
        line = go.Scatter(
            x=[None if w is None else (w.start_s + w.end_s) / 2 for w in shown],
            y=[None if w is None else w.score for w in shown],
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 8, "symbol": sign},
            name=escape(name),
        )
        figure.add_trace(line)
    figure.update_xaxes(title=say("time in the video, s"))
    figure.update_yaxes(title=say("raw score"), range=_span([w.score for _, windows in timelines for w in windows]))
    figure.update_layout(title=say("Consistency over time"))
    figure = _style(figure)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.25}, height=340)
    return figure


def plot_metrics(metrics: Sequence[Metric]) -> go.Figure:
    """Plot the performance of a calibration over all trials: each metric with its 95 % interval."""
    shown = [one for one in metrics if one.condition == "all" and one.value is not None][::-1]
    points = go.Scatter(
        x=[round(one.value, 4) for one in shown],
        y=[one.name for one in shown],
        mode="markers",
        marker={"size": 9, "color": LINE},
        error_x={
            "array": [max((one.high if one.high is not None else one.value) - one.value, 0.0) for one in shown],
            "arrayminus": [max(one.value - (one.low if one.low is not None else one.value), 0.0) for one in shown],
            "color": LINE,
        },
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure = _style(go.Figure(points))
    figure.update_layout(
        title=say("Measured on what was held out, with 95 % intervals"),
        title_font_size=13,
        height=120 + 22 * len(shown),
    )
    figure.update_yaxes(automargin=True)
    return figure


def plot_speakers(people: Sequence[tuple[str, Sequence[StoredSample]]]) -> go.Figure:
    """Plot every enrolled clip as a point, speakers by colour, symbol and name; similar motion is close.

    The axes are the first two principal components; the axis title states their share of the variance.
    """
    clips = [(name, one) for name, own in people for one in own]
    recipe = Counter(one.embedding.recipe for _, one in clips).most_common(1)[0][0] if clips else ""
    shown = [(name, one) for name, one in clips if one.embedding.recipe == recipe][-MANY_CLIPS:]
    places, share = _flatten(np.array([one.embedding.vector for _, one in shown]))
    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys(name for name, _ in shown)):
        rows = [row for row, (owner, _) in enumerate(shown) if owner == name]
        figure.add_trace(
            go.Scatter(
                x=places[rows, 0].round(3),
                y=places[rows, 1].round(3),
                customdata=[[escape(shown[row][1].source_name), shown[row][1].embedding.seconds] for row in rows],
                mode="markers",
                marker={"size": 11, "symbol": SIGNS[number % len(SIGNS)]},
                name=escape(name),
                hovertemplate=f"{escape(name)}<br>%{{customdata[0]}}, %{{customdata[1]:.0f}} s<extra></extra>",
            )
        )
    figure.update_xaxes(
        showticklabels=False,
        title={"text": say("the plane shows {share} of the differences", share=f"{share:.0%}"), "font": {"size": 12}},
    )
    figure.update_yaxes(showticklabels=False)
    figure = _style(figure)
    figure.update_layout(
        title=say("Who moves alike: a point is a clip"),
        showlegend=True,
        legend={"orientation": "h", "y": -0.16, "font": {"size": 11}},
        height=380,
    )
    return figure


def plot_turns(names: Sequence[str], spans: Sequence[Turn], turns: Sequence[Sequence[Turn]]) -> go.Figure:
    """Plot a row per face, the first on top: when it is visible, and when only its lips are in sync."""
    figure = go.Figure()
    rows = [escape(name) for name in names]
    seen = [(row, span) for row, span in zip(rows, spans, strict=True)]
    fits = [(row, turn) for row, own in zip(rows, turns, strict=True) for turn in own]
    for words, bars, colour, width in (
        (say("the face is seen"), seen, "#9a9da5", 0.3),
        (say("its lips fit the sound, and no other's do"), fits, "#4c9f70", 0.7),
    ):
        bar = go.Bar(
            y=[row for row, _ in bars],
            base=[start for _, (start, _) in bars],
            x=[end - start for _, (start, end) in bars],
            customdata=[[start, end] for _, (start, end) in bars],
            orientation="h",
            width=width,
            marker={"color": colour},
            name=words,
            hovertemplate=f"%{{customdata[0]:.1f}} – %{{customdata[1]:.1f}} s<br>{words}<extra></extra>",
        )
        figure.add_trace(bar)
    figure.update_xaxes(title=say("time in the video, s"), range=[0, max(end for _, end in spans)])
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=rows, automargin=True)
    figure = _style(figure)
    figure.update_layout(
        title=say("Whose lips fit, and when: click to play"),
        title_font_size=14,
        barmode="overlay",
        height=170 + 36 * len(rows),
        showlegend=True,
        legend={"orientation": "h", "y": -0.5, "yanchor": "top", "font": {"size": 11}},
    )
    return figure


def _flatten(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Project (n, D) to (n, 2) principal components, and return their share of the variance."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2)), 1.0
    left, spread, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    places = np.zeros((len(vectors), 2))
    n_axes = min(2, len(spread))
    places[:, :n_axes] = left[:, :n_axes] * spread[:n_axes]
    total = float(np.square(spread).sum())
    return places, float(np.square(spread[:2]).sum()) / total if total > 0 else 1.0


def _list_bands(count: int) -> np.ndarray:
    """Return the centres of the mel bands, Hz."""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in BANDS_HZ)
    return (700 * (10 ** (np.linspace(low, high, count + 2)[1:-1] / 2595) - 1)).round(0)


def _add_strip(figure: go.Figure, gates: Sequence[tuple[float, float, Gate]]) -> go.Figure:
    """Add one bar per run on a second axis below the points."""
    for kind, (colour, pattern) in GATES.items():
        runs = [(start, end) for start, end, own in gates if own == kind]
        if not runs:
            continue
        bar = go.Bar(
            x=[end - start for start, end in runs],
            base=[start for start, _ in runs],
            y=[""] * len(runs),
            orientation="h",
            yaxis="y2",
            name=say(kind.value),
            marker={"color": colour, "pattern": {"shape": pattern}, "line": {"width": 0}},
            customdata=[[start, end] for start, end in runs],
            hovertemplate=f"%{{customdata[0]:.1f}} – %{{customdata[1]:.1f}} s<br>{say(kind.value)}<extra></extra>",
        )
        figure.add_trace(bar)
    figure.update_layout(
        yaxis_domain=[0.26, 1],
        yaxis2={"domain": [0, 0.1], "showgrid": False, "fixedrange": True},
        barmode="overlay",
        height=340,
        showlegend=True,
        legend={"orientation": "h", "y": -0.28, "font": {"size": 11}},
        xaxis_anchor="y2",
    )
    figure.data[0].showlegend = False
    return figure


def plot_curve(curve: SyncCurve) -> go.Figure:
    """Plot the mean similarity of all real pairs over the AV offset, with the best offset marked."""
    figure = go.Figure([*_trace_curve(curve, say("similarity"), LINE, MARK)])
    figure.add_vline(x=0, line={"color": TEXT, "dash": "dot", "width": 1})
    figure.update_xaxes(title=say("sound offset, s (+ is late)"))
    figure.update_yaxes(title=say("mean similarity"), range=_span(_known(curve.similarity)))
    figure.update_layout(title=say("Similarity over the offset"))
    return _style(figure)


def plot_curves(first: tuple[str, SyncCurve], second: tuple[str, SyncCurve]) -> go.Figure:
    """Plot the curves of two models over the offset, each on its own axis, since their scales are not comparable."""
    figure = plot_curve(first[1])
    figure.data[0].name = first[0]
    line, best = _trace_curve(second[1], second[0], SECOND, SECOND)
    below = best.textposition.replace("top", "bottom")  # so that the two labels do not overlap
    figure.add_traces([line.update(yaxis="y2", line_dash="dash"), best.update(yaxis="y2", textposition=below)])
    for mark in (figure.data[1], figure.data[3]):
        mark.showlegend = False
    own = {"title": second[0], "range": _span(_known(second[1].similarity), 0.25), "side": "right", "overlaying": "y"}
    figure.update_layout(
        title_text=say("Two models, each on its own scale"),
        height=340,
        yaxis={"title": first[0], "color": LINE, "range": _span(_known(first[1].similarity), 0.25)},
        yaxis2=own | {"color": SECOND, "showgrid": False, "zeroline": False},
        showlegend=True,
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 56, "r": 56, "t": 48, "b": 48},
    )
    return figure


def _trace_curve(curve: SyncCurve, name: str, colour: str, mark: str) -> tuple[go.Scatter, go.Scatter]:
    """Return the line and its best offset; offsets with too few pairs are gaps."""
    best = int(np.nanargmax(curve.similarity))
    line = go.Scatter(
        x=curve.offsets_s.round(3),
        y=[None if np.isnan(value) else round(float(value), 4) for value in curve.similarity],
        customdata=curve.pairs,
        mode="lines",
        line={"color": colour, "width": 2},
        hovertemplate=f"{say('offset')} %{{x:+.2f}} s<br>{say('similarity')} %{{y:.3f}}<br>"
        f"%{{customdata}} {say('pairs')}<extra></extra>",
        name=name,
    )
    point = go.Scatter(
        x=[round(float(curve.offsets_s[best]), 3)],
        y=[round(float(curve.similarity[best]), 4)],
        mode="markers+text",
        marker={"size": 11, "symbol": "diamond", "color": mark},
        text=[f"{say('best')} {float(curve.offsets_s[best]):+.2f} s"],
        textposition=f"top {_place_label(best, len(curve.similarity))}",
        hoverinfo="skip",
        name=say("best"),
    )
    return line, point


def _place_label(at: int, length: int) -> str:
    """Return on which side of a point a label stays within the figure."""
    return "right" if at < length / 4 else "left" if at > 3 * length / 4 else "center"


def _known(values: np.ndarray) -> list[float]:
    return [float(value) for value in values if np.isfinite(value)]


def _list_holes(windows: Sequence[Window]) -> list[tuple[float, float]]:
    """Return the times between windows that no window covers."""
    return [(a.end_s, b.start_s) for a, b in pairwise(windows) if b.start_s > a.end_s]


def _break_gaps(windows: Sequence[Window]) -> list[Window | None]:
    """Insert None where windows are missing, so that no line bridges the gap."""
    starts = np.array([w.start_s for w in windows])
    hop = float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0
    shown: list[Window | None] = []
    for before, window in zip([None, *windows], windows, strict=False):
        if before is not None and window.start_s - before.start_s > 1.5 * hop:
            shown.append(None)
        shown.append(window)
    return shown


def _span(values: Sequence[float], margin: float = 0.12) -> list[float]:
    """Return an axis range with a margin that includes 0 and 0.5."""
    low, high = min([0.0, *values]), max([0.5, *values])
    room = margin * (high - low)
    return [low - room, high + room]


def _style(figure: go.Figure) -> go.Figure:
    """Set colours for light and dark mode, and margins for narrow screens."""
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
