"""The Analyse tab: submit files or a link, follow the job, and show the results per face."""

from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from engine.consistency.methods import Method, list_lacking, list_methods
from engine.settings import Settings
from webapp.accounts.middleware import Role, require_role
from webapp.analysis.examples import EXAMPLES, find_examples
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.jobs.records import JobState
from webapp.pages import analyse_events, batches, part, speakers_events
from webapp.pages.analyse_events import EVERYBODY, NOBODY, ONE, AnalyseForm
from webapp.pages.events import LATEST, QUIET, build_picker_hint, find_owner, guard
from webapp.pages.face_results import build_face, build_others, build_tracks
from webapp.pages.link import build_link, choose_item, wire_link
from webapp.pages.part import PartForm
from webapp.views import analysis as views
from webapp.views import jobs as job_views

EVERY_S = 1.0  # s, between polls of a running job
SCREEN = "screen"  # of the events that draw the shown job or the player: they run one after the other


def build(app: gr.Blocks, context: AppContext) -> gr.State:
    """Build the tab and return the state with the id of the shown job."""
    form = _build_form(app)
    batches.build(app, context, form["method"])
    screen = _build_screen()
    _wire_form(context, form, screen)
    _wire_jobs(app, context, form, screen)

    @gr.render(inputs=[screen["version"]], triggers=[screen["version"].change], show_progress="hidden")
    def show_faces(version: tuple[str, str] | None, request: gr.Request) -> None:
        job = analyse_events.find_job(context, find_owner(request), version[0] if version else None)
        if job is None or job.state != JobState.DONE:
            return
        shown = analyse_events.read(context, job)
        assert shown.found is not None
        build_tracks(shown.found.analysis)
        for track in shown.found.analysis.tracks:
            build_face(context, shown, track.id, track)
        build_others(context, shown)

    shown: gr.State = screen["job"]
    return shown


def take_example(settings: Settings, number: int) -> list[str] | None:
    """Copy an example to Gradio's cache; None, with a warning, if it has not been made."""
    paths = find_examples(settings.data_dir)
    if not paths:
        gr.Warning(say("The examples have not been made yet. Run: python -m webapp.analysis.examples"))
        return None
    return [save_file_to_cache(paths[number], get_upload_folder())]


def _build_form(app: gr.Blocks) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            parts["files"] = gr.File(
                label=label("Video"), file_count="multiple", type="filepath", elem_id="ws-files", height=150
            )
            build_picker_hint(app)
            with gr.Row():
                parts["examples"] = [gr.Button(label(example.title), size="sm") for example in EXAMPLES]
            parts |= build_link()
            parts["part"] = part.build_part()
            parts["whom"] = gr.Radio(
                [
                    (label("Nobody: face and voice alone"), NOBODY),
                    (label("One enrolled person"), ONE),
                    (label("Everybody enrolled"), EVERYBODY),
                ],
                value=NOBODY,
                label=label("Compare the way of speaking with"),
                elem_id="ws-whom",
            )
            parts["speaker"] = gr.Dropdown(
                [], label=label("Person"), visible=False, value=None, elem_id="ws-whom-person"
            )
            parts["reason"] = gr.Textbox(
                label=label("Why everybody is searched"),
                info=label("A case number or the like, no name; it is kept on record."),
                visible=False,
                elem_id="ws-reason",
            )
            parts["method"] = gr.Dropdown(
                [Method().title], value=Method().title, label=label("Method"), elem_id="ws-method"
            )
            parts["sounds"] = gr.Checkbox(
                False,
                label=label("Look at speech sounds (English)"),
                info=label("Which sounds should close or round the lips, and whether they did; takes a little longer."),
                elem_id="ws-sounds",
            )
            parts["channel"] = part.build_channel()
            parts["lacking"] = gr.HTML("", elem_id="ws-lacking")
            parts["start"] = gr.Button(label("Analyse"), variant="primary", elem_id="ws-analyse")
        with gr.Column(scale=3, min_width=320):
            parts["player"] = gr.HTML(views.show_player(None), elem_id="ws-watch")
    return parts


def _build_screen() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    parts["open"] = gr.HTML("", elem_id="ws-open")
    with gr.Row():
        parts["choice"] = gr.Dropdown([], value=None, label=label("Shown below"), elem_id="ws-choice", scale=4)
        parts["another"] = gr.Button(
            label("Analyse another part"), size="sm", visible=False, elem_id="ws-another", scale=1
        )
        parts["cancel"] = gr.Button(label("Cancel this job"), size="sm", visible=False, elem_id="ws-cancel", scale=1)
    parts["summary"] = gr.HTML(views.welcome(), elem_id="ws-summary", min_height=120)
    parts["links"] = gr.HTML("", elem_id="ws-downloads")
    parts["job"] = gr.State(None)  # id of the shown job
    parts["version"] = gr.State(None)  # id and state of the shown job: a change redraws the faces
    parts["timer"] = gr.Timer(EVERY_S, active=False)
    return parts


def _wire_form(context: AppContext, form: dict[str, Any], screen: dict[str, Any]) -> None:
    def offer(whom: str) -> tuple[Any, Any]:
        names = speakers_events.list_names(context) if whom == ONE else []
        return gr.update(visible=whom == ONE, choices=names), gr.update(visible=whom == EVERYBODY)

    def preview(paths: list[str] | None, source: str | None) -> Any:
        if not paths and source is not None:  # the recording of a job is shown instead
            return gr.skip()
        return analyse_events.show_upload(paths[-1] if paths else None)

    form["whom"].change(guard(offer), [form["whom"]], [form["speaker"], form["reason"]], **QUIET)
    wire_link(context, form, screen)
    upload = [form["files"], form["part"]["source"]]
    form["files"].change(guard(preview), upload, [form["player"]], concurrency_id=SCREEN, **QUIET)
    controls = [form["part"][name] for name in part.OUTPUTS]
    previewed = guard(part.make_previewer(context.settings.limits))
    form["files"].change(previewed, upload, controls, concurrency_id=part.PREVIEW, **QUIET)
    for number, button in enumerate(form["examples"]):
        button.click(
            lambda n=number: take_example(context.settings, n), None, [form["files"]], concurrency_id="example", **QUIET
        )


def _wire_jobs(app: gr.Blocks, context: AppContext, form: dict[str, Any], screen: dict[str, Any]) -> None:
    """Draw the job that the state `job` names.

    Events that choose a job write this state alone; its change draws the job. The events that draw read it when they
    run, one after the other (`SCREEN`), so that none draws an earlier job over a later one.
    """
    parts = ("version", "open", "choice", "cancel", "another", "summary", "links", "timer")
    outputs = [*(screen[name] for name in parts), form["player"]]

    def draw(number: str | None, request: gr.Request) -> tuple[Any, ...]:
        owner = find_owner(request)
        job = analyse_events.find_job(context, owner, number)
        open_jobs = analyse_events.list_open(context, owner)
        is_open = job is not None and job.state.is_open
        return (
            (job.id, str(job.state)) if job else None,
            job_views.list_open(open_jobs),
            gr.update(choices=analyse_events.list_recent(context, owner), value=job.id if job else None),
            gr.update(visible=is_open),
            gr.update(visible=job is not None and not is_open and job.sha256 is not None),
            analyse_events.show_job(context, job),
            job_views.list_downloads(job) if job else "",
            gr.update(active=bool(open_jobs)),
            analyse_events.show_original(job) if job else gr.skip(),
        )

    def begin(files: list[str] | None, url: str, method: str, whom: str, reason: str, speaker: str | None,
              sounds: bool, source: str | None, start: str, end: str, track: int | None, channel: str,
              length: tuple[float, str] | None, item: int | None, offered: str | None,
              request: gr.Request) -> str:  # fmt: skip
        owner = require_role(request, Role.ANALYST).name
        chosen = PartForm(start, end, track, channel, *(length or ()))
        number = choose_item(url, item, offered)
        asked = AnalyseForm(tuple(files or ()), url, method, whom, reason, speaker, sounds, chosen, source, number)
        return analyse_events.submit(context, owner, asked)[0].id

    def preview_job(number: str | None, request: gr.Request) -> tuple[Any, ...]:
        owner = require_role(request, Role.ANALYST).name
        job = analyse_events.find_job(context, owner, number)
        if job is None:
            return gr.skip(), gr.skip(), *part.hide()
        controls = part.show_recording(context.jobs.input(job.id), context.settings.limits, job.id)
        return None, "", *controls

    def play_job(number: str | None, request: gr.Request) -> Any:
        job = analyse_events.find_job(context, find_owner(request), number)
        return analyse_events.show_original(job) if job else gr.skip()

    def poll(
        number: str | None, version: tuple[str, str] | None, files: list[str] | None, source: str | None,
        request: gr.Request,
    ) -> tuple[Any, ...]:  # fmt: skip
        now = draw(number, request)
        if version is None or now[0] is None or tuple(version) == now[0]:
            return gr.skip(), now[1], gr.skip(), *now[3:-1], gr.skip()
        shows_choice = files or source is not None  # the player shows what is to be analysed next
        return *now[:-1], gr.skip() if shows_choice else now[-1]

    def cancel(number: str | None, request: gr.Request) -> tuple[Any, ...]:
        owner = require_role(request, Role.ANALYST).name
        job = analyse_events.find_job(context, owner, number)
        if job is not None:
            context.jobs.cancel(job.id)
        return *draw(number, request)[:-1], gr.skip()

    def load(number: str | None, request: gr.Request) -> tuple[Any, ...]:
        titles = [(say(method.title), method.title) for method in list_methods(context.settings.data_dir)]
        lacking = views.describe_methods(list_lacking(context.settings.data_dir))
        wanted = request.query_params.get("job")
        *shown, player = draw(number or wanted, request)
        shown.append(player if shown[0] else views.show_player(None))
        return (gr.skip() if number or not wanted else wanted, *shown, gr.update(choices=titles), lacking)

    asked = [form[name] for name in ("files", "url", "method", "whom", "reason", "speaker", "sounds")]
    asked += [form["part"][name] for name in ("source", "from", "to", "track")]
    asked += [form["channel"], form["part"]["length"], form["item"], form["offered"]]
    previewed = [form["files"], form["url"], *(form["part"][name] for name in part.OUTPUTS)]
    drawing: dict[str, Any] = {"concurrency_id": SCREEN, **QUIET}
    form["start"].click(guard(begin), asked, [screen["job"]], trigger_mode="once", **QUIET)
    polled = [screen["job"], screen["version"], form["files"], form["part"]["source"]]
    screen["timer"].tick(guard(poll), polled, outputs, **drawing)
    screen["choice"].input(lambda number: number, [screen["choice"]], [screen["job"]], **LATEST)
    screen["job"].change(guard(draw), [screen["job"]], outputs, **drawing)
    screen["another"].click(
        guard(preview_job), [screen["job"]], previewed, concurrency_id=part.PREVIEW, trigger_mode="once", **QUIET
    )
    screen["another"].click(guard(play_job), [screen["job"]], [form["player"]], **drawing)
    screen["cancel"].click(guard(cancel), [screen["job"]], outputs, **drawing)
    loaded = [screen["job"], *outputs, form["method"], form["lacking"]]
    app.load(guard(load), [screen["job"]], loaded, **drawing)
