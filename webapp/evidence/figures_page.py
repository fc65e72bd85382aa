"""The figures of an analysis as one page that needs no network: plotly stands in it, once."""

import base64
import hashlib
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from engine.methods import TITLES
from engine.types import Analysis, TrackReport
from webapp.figures import plot_curve, plot_curves, plot_timeline

DRAW = (
    "for (const box of document.querySelectorAll('[data-figure]')) {"
    " const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);"
    " Plotly.newPlot(box, figure.data, figure.layout, {displaylogo: false, responsive: true}); }"
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h2{margin:2rem 0 .5rem}"
)


def render_figures(analysis: Analysis) -> str:
    """Write the page. What it may run is told by hash, and it may load nothing at all."""
    plotly = get_plotlyjs()
    scripts = " ".join(f"'sha256-{_hash(script)}'" for script in (plotly, DRAW))
    policy = f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:"
    body = "".join(_render_face(track, analysis) for track in analysis.tracks)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Figures: {escape(analysis.name)}</title><style>{STYLE}</style></head><body>"
        f"<h1>Figures</h1><p>{escape(analysis.name)}, SHA-256 <code>{escape(analysis.sha256)}</code></p>{body}"
        f"<script>{plotly}</script><script>{DRAW}</script></body></html>\n"
    )


def list_figures(track: TrackReport, analysis: Analysis) -> dict[str, go.Figure]:
    """The figures of one face by name; none where nothing was compared."""
    found, figures = track.consistency, {}
    if found.windows:
        timeline = plot_timeline(found.windows, analysis.duration_s)
        timeline.update_layout(title_text="Consistency over time")
        figures["timeline"] = timeline
    if found.curve is not None:
        second = found.second
        figures["curve"] = (
            plot_curve(found.curve)
            if second is None
            else plot_curves((TITLES[analysis.model], found.curve), (TITLES[second.model], second.curve))
        )
    for figure in figures.values():  # there is no player beside it to click for
        figure.for_each_trace(_drop_click)
    return figures


def _drop_click(trace: go.Scatter) -> None:
    if trace.hovertemplate:
        trace.hovertemplate = trace.hovertemplate.replace("<br><i>click: play from here</i>", "")


def _render_face(track: TrackReport, analysis: Analysis) -> str:
    parts = [f"<h2>Face {track.id + 1}, {track.start_s:.1f} to {track.end_s:.1f} s</h2>"]
    figures = list_figures(track, analysis)
    for name, figure in figures.items():
        at = f"figure-{track.id}-{name}"
        data = figure.to_json().replace("<", "\\u003c")  # nothing in it can end the element
        parts.append(f'<div data-figure="{at}"></div><script type="application/json" id="{at}">{data}</script>')
    return "".join(parts if figures else [*parts, "<p>Nothing was compared: the report says why.</p>"])


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
