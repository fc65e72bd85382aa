"""The figures of an analysis as one page that needs no network: plotly stands in it, once."""

import base64
import hashlib

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from engine.consistency.methods import TITLES
from engine.types import Analysis, TrackReport
from webapp.figures import plot_curve, plot_curves, plot_timeline
from webapp.templates import render

DRAW = (
    "for (const box of document.querySelectorAll('[data-figure]')) {"
    " const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);"
    " Plotly.newPlot(box, figure.data, figure.layout, {displaylogo: false, responsive: true}); }"
)


def render_figures(analysis: Analysis) -> str:
    """Write the page. What it may run is told by hash, and it may load nothing at all."""
    scripts = (get_plotlyjs(), DRAW)
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return render(
        "figures.html",
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:",
        analysis=analysis,
        faces=[(track, _write_figures(track, analysis)) for track in analysis.tracks],
        scripts=[Markup(script) for script in scripts],  # noqa: S704  # both are fixed texts of the program
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


def _write_figures(track: TrackReport, analysis: Analysis) -> dict[str, Markup]:
    """Write each figure as JSON in which nothing can end the script element."""
    figures = list_figures(track, analysis).items()
    return {name: Markup(figure.to_json().replace("<", "\\u003c")) for name, figure in figures}  # noqa: S704


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
