"""Results of each face in the Analyse tab: status, plots over time, lips and speaker."""

from typing import Any

import gradio as gr

from engine.consistency.methods import TITLES
from engine.types import Analysis, SyncCurve, TrackReport
from webapp.analysis.analyser import AnalysisResult
from webapp.analysis.signals import find_turns
from webapp.context import AppContext
from webapp.i18n.catalog import label
from webapp.pages import analyse_events
from webapp.pages.analyse_events import ShownJob
from webapp.pages.events import QUIET
from webapp.views import analysis as views
from webapp.views.lip_closures import describe_lips
from webapp.views.plots import plot_curve, plot_curves, plot_seconds, plot_timeline, plot_turns

AROUND_S = 2.0  # s shown around the chosen second in the plot of audio and mouth


def build_tracks(analysis: Analysis) -> None:
    """List the faces if there are several, and plot when the lips of each are in sync."""
    if len(analysis.tracks) < 2:
        return
    with gr.Column(elem_classes="ws-card"):
        gr.HTML(views.list_tracks(analysis.tracks))
        turns = find_turns(analysis.tracks, analysis.model)
        if turns is not None:
            names = [views.name_face(track) for track in analysis.tracks]
            spans = [(track.start_s, track.end_s) for track in analysis.tracks]
            gr.Plot(plot_turns(names, spans, turns), show_label=False, elem_classes=["ws-timeline", "ws-turns"])


def build_face(context: AppContext, shown: ShownJob, number: int, track: TrackReport) -> None:
    """Show one face: status, plots over time, then the speaker result."""
    assert shown.found is not None
    analysis, found, traces = shown.found.analysis, track.consistency, shown.found.traces
    with gr.Column(elem_classes="ws-card"):
        gr.HTML(views.describe_face(track, analysis.media))
        if found.curve is not None:
            gates = traces.gate(number) if traces is not None else []
            with gr.Row():
                if found.windows:
                    with gr.Column(scale=3, min_width=320):
                        timeline = plot_timeline(
                            found.windows, analysis.duration_s, gates, analysis.media.from_s, found.spans
                        )
                        gr.Plot(timeline, show_label=False, elem_classes="ws-timeline")
                with gr.Column(scale=2, min_width=320):
                    gr.Plot(_plot_offsets(found.curve, track, analysis), show_label=False, elem_classes="ws-curve")
            if found.windows:
                gr.HTML(views.list_windows(found.windows, analysis.media))
            if found.spans:
                gr.HTML(views.list_spans(found.spans))
        if traces is not None:
            _build_seconds(context, shown, number, track)
        lips = _describe_lips(shown.found, number)
        if lips:
            gr.HTML(lips)
        for words in analyse_events.describe_speaker(context, shown, track):
            gr.HTML(words)


def _build_seconds(context: AppContext, shown: ShownJob, number: int, track: TrackReport) -> None:
    """Show audio and mouth around a second, which can be chosen on the timeline too."""
    assert shown.found is not None and shown.found.traces is not None
    traces, from_s = shown.found.traces, shown.found.analysis.media.from_s
    to_s = from_s + shown.found.analysis.duration_s
    start = round(track.start_s, 1)
    with gr.Accordion(label("Look for yourself: sound and mouth"), open=False, elem_classes="ws-seconds"):
        second = gr.Number(
            round(min(start + AROUND_S, track.end_s), 1),
            label=label("Around this second"),
            info=label("The mouth should open with vowels, and close for p, b and m."),
            minimum=round(from_s, 1),
            maximum=round(to_s, 1),
            step=0.5,
            elem_classes="ws-second-at",
        )

        def plot(at: float | None) -> Any:
            middle = min(max(at or 0.0, track.start_s), track.end_s)
            first, last = max(middle - AROUND_S, from_s), min(middle + AROUND_S, to_s)
            return plot_seconds(traces, number, first, max(last, first + 0.5))

        figure = gr.Plot(plot(second.value), show_label=False, elem_classes="ws-mouth")
        second.change(plot, [second], [figure], **QUIET)


def _describe_lips(found: AnalysisResult, number: int) -> str:
    report = found.articulations[number] if found.articulations is not None else None
    return describe_lips(report, found.articulations_error)


def build_others(context: AppContext, shown: ShownJob) -> None:
    """Show the speaker results of faces that were not scored, as in SpeechForensics mode."""
    assert shown.found is not None
    with_track = {track.id for track in shown.found.analysis.tracks}
    for words in analyse_events.describe_others(context, shown, with_track):
        with gr.Column(elem_classes="ws-card"):
            gr.HTML(words)


def _plot_offsets(curve: SyncCurve, track: TrackReport, analysis: Analysis) -> Any:
    second = track.consistency.second
    if second is None:
        return plot_curve(curve)
    return plot_curves((TITLES[analysis.model], curve), (TITLES[second.model], second.curve))
