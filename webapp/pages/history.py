"""The History tab: list, filter, open, compare, rerun and delete analyses.

A comparison shows two analyses side by side: of one file by two methods, or of two files.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from engine.consistency.methods import Method, list_methods
from engine.errors import EngineError
from engine.reports.json import from_json
from engine.reports.text import name_method
from engine.types import Analysis, TrackReport, Window
from gallery_db.text import clean
from webapp.accounts.middleware import Role, require_role
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.jobs.files import RESULT
from webapp.jobs.records import Job, JobState
from webapp.pages import analyse_events
from webapp.pages.events import LATEST, QUIET, find_owner, guard
from webapp.templates import fill
from webapp.views import analysis as views
from webapp.views import jobs as job_views
from webapp.views.analysis import show_status
from webapp.views.plots import plot_comparison

ANY = "any"
PAGE = 200  # rows
WIDTHS: list[str | int] = ["150px", "220px", "120px", "240px", "80px", "100px", "180px", "120px"]


def build(app: gr.Blocks, context: AppContext, shown_job: gr.State, tabs: gr.Tabs, tab: gr.Tab) -> None:
    """Build the tab; opening a job shows it in the Analyse tab."""
    with gr.Row():
        text = gr.Textbox(label=label("Search in names, links and checksums"), elem_id="ws-history-text", scale=3)
        states = [(label("Any"), ANY), *[(label(job_views.STATE_WORDS[state]), str(state)) for state in JobState]]
        state = gr.Dropdown(states, value=ANY, label=label("State"), elem_id="ws-history-state", scale=1)
        again = gr.Button(label("Refresh"), size="sm", elem_id="ws-history-refresh", scale=1)
    table = gr.Dataframe(
        headers=list(job_views.HEADERS),
        interactive=False,
        label=label("Jobs"),
        elem_id="ws-history",
        wrap=True,
        column_widths=WIDTHS,
    )
    with gr.Row():
        chosen = gr.Dropdown([], value=None, label=label("Chosen job"), elem_id="ws-history-job", scale=3)
        other = gr.Dropdown([], value=None, label=label("Compare with"), elem_id="ws-history-other", scale=3)
        method = gr.Dropdown(
            [Method().title], value=Method().title, label=label("Method"), elem_id="ws-history-method", scale=2
        )
    with gr.Row():
        show = gr.Button(label("Open under Analyse"), size="sm", elem_id="ws-history-open")
        compare = gr.Button(label("Compare the two"), size="sm", elem_id="ws-history-compare")
        rerun = gr.Button(label("Run again with this method"), size="sm", elem_id="ws-history-rerun")
        delete = gr.Button(label("Delete for good"), size="sm", variant="stop", elem_id="ws-history-delete")
    comparison = gr.HTML("", elem_id="ws-comparison")
    figure = gr.Plot(visible=False, show_label=False, elem_classes="ws-compared")

    def fill(wanted: str | None, kind: str | None, request: gr.Request, keep: str | None = None) -> tuple[Any, ...]:
        owner = find_owner(request)
        kinds = None if kind in (None, ANY) else [JobState(kind)]
        jobs = context.jobs.list(owner, kinds, wanted or "", limit=PAGE)
        choices = [(f"{job_views.name_job(job)}", job.id) for job in jobs]
        heads = [say(head) for head in job_views.HEADERS]
        rows = job_views.list_rows([(job, read_report(context, job)) for job in jobs])
        return gr.update(value=rows, headers=heads), gr.update(choices=choices, value=keep), gr.update(choices=choices)

    def begin(wanted: str | None, kind: str | None, request: gr.Request) -> tuple[Any, ...]:
        titles = [(say(method.title), method.title) for method in list_methods(context.settings.data_dir)]
        return (*fill(wanted, kind, request), gr.update(choices=titles))

    def pick(event: gr.SelectData) -> str:
        return str(event.row_value[-1])

    def own(number: str | None, request: gr.Request) -> Job:
        job = analyse_events.find_job(context, find_owner(request), number)
        if job is None:
            raise EngineError("No job was chosen.", "Choose one from the table first.")
        return job

    def open_job(number: str | None, request: gr.Request) -> tuple[Any, ...]:
        return own(number, request).id, gr.Tabs(selected="analyse")

    def ask_anew(number: str | None, title: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ANALYST)
        job = own(number, request)
        question = replace(job.question, method=title)
        return context.jobs.rerun(job.id, question).id, gr.Tabs(selected="analyse")

    def remove(number: str | None, wanted: str, kind: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ANALYST)
        context.jobs.delete(own(number, request).id)
        return fill(wanted, kind, request)

    def set_side_by_side(first: str | None, second: str | None, request: gr.Request) -> tuple[Any, ...]:
        pair = [own(one, request) for one in (first, second)]
        found = [context.jobs.read_result(job.id).analysis for job in pair]
        drawn = list_timelines(pair, found)
        shown = gr.update(visible=bool(drawn), value=plot_comparison(drawn) if drawn else None)
        return describe(pair, found), shown

    listed = [table, chosen, other]
    listing = {"concurrency_id": "history", **LATEST}
    app.load(guard(begin), [text, state], [*listed, method], **listing)
    for event in (text.submit, state.change, again.click, tab.select):
        event(guard(fill), [text, state], listed, **listing)
    table.select(guard(pick), None, [chosen], **listing)
    show.click(guard(open_job), [chosen], [shown_job, tabs], **QUIET)
    rerun.click(guard(ask_anew), [chosen, method], [shown_job, tabs], **QUIET)
    delete.click(guard(remove), [chosen, text, state], listed, concurrency_id="history", **QUIET)
    compare.click(guard(set_side_by_side), [chosen, other], [comparison, figure], **QUIET)


def read_report(context: AppContext, job: Job) -> Analysis | None:
    """Read the report of a job; None if there is none."""
    if job.state != JobState.DONE:
        return None
    try:
        return from_json(json.loads((context.jobs.folder(job.id) / RESULT).read_text("utf-8")))
    except (OSError, ValueError, EngineError):
        return None


def describe(jobs: Sequence[Job], analyses: Sequence[Analysis]) -> str:
    """Compare the results of two analyses in two columns."""
    rows: list[tuple[str, list[str]]] = [
        (say("File"), [clean(one.name) for one in analyses]),
        (say("Method:").rstrip(":"), [say(name_method(one)) for one in analyses]),
        *_compare_media(analyses),
        (say("Recipe"), [fill("macros.html", "code", text=one.recipe) for one in analyses]),
        (say("State"), [show_status(one.status) for one in analyses]),
        (say("Reasons"), [", ".join(one.reasons) or "–" for one in analyses]),
        (say("Score"), [_tell(one, "score", "{:.3f}") for one in analyses]),
        (say("log10 likelihood ratio"), [_tell(one, "llr", "{:+.2f}") for one in analyses]),
        (say("Offset of the sound"), [_tell(one, "offset_s", "{:+.2f} s") for one in analyses]),
        (say("Speech with this face in view"), [_tell(one, "speech_s", "{:.1f} s") for one in analyses]),
    ]
    is_on_one_scale = len({one.recipe for one in analyses}) == 1
    return fill("pages.html", "comparison", is_on_one_scale=is_on_one_scale, rows=rows)


def _compare_media(analyses: Sequence[Analysis]) -> list[tuple[str, list[str]]]:
    """Return a row for each kind of fact about what of the two recordings was judged."""
    described = [views.describe_media(one.media) for one in analyses]
    heads = dict.fromkeys(head for facts in described for head, _ in facts)
    return [
        (head, ["; ".join(text for name, text in facts if name == head) or "–" for facts in described])
        for head in heads
    ]


def list_timelines(jobs: Sequence[Job], analyses: Sequence[Analysis]) -> list[tuple[str, tuple[Window, ...]]]:
    """Return the timelines of the track with the most speech in each; empty if one has none."""
    found = []
    for letter, job, one in zip("AB", jobs, analyses, strict=True):
        track = _choose(one)
        if track is not None and track.consistency.windows:
            found.append((f"{letter}: {clean(job.name)}", track.consistency.windows))
    return found


def _choose(analysis: Analysis) -> TrackReport | None:
    scored = [track for track in analysis.tracks if track.consistency.score is not None]
    return max(scored, key=lambda track: track.consistency.speech_s, default=None)


def _tell(analysis: Analysis, field: str, form: str) -> str:
    track = _choose(analysis)
    value = None if track is None else getattr(track.consistency, field)
    return "–" if value is None else form.format(value)
