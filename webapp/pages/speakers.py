"""The Speakers tab: list, enrol, correct and erase speakers."""

from typing import Any

import gradio as gr

from engine.errors import EngineError
from gallery_db.records import MAX_TERM_DAYS, Basis
from webapp.accounts.middleware import Role, require_role
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.pages import speakers_events
from webapp.pages.events import LATEST, QUIET, SHOWN, build_picker_hint, find_owner, guard
from webapp.views import speakers
from webapp.views.plots import plot_speakers

EVERY_S = 1.5  # s, between polls of running jobs
IN_TURN: dict[str, Any] = {"concurrency_id": "speakers"}  # for all events that show speakers or their clips


def build(app: gr.Blocks, context: AppContext) -> None:
    """Build the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            text = gr.Textbox(label=label("Search by name"), elem_id="ws-people-text")
            table = gr.Dataframe(
                headers=list(speakers.HEADERS),
                interactive=False,
                label=label("Enrolled speakers"),
                elem_id="ws-people",
                wrap=True,
                column_widths=["30%", "12%", "16%", "24%", "18%"],
            )
            figure = gr.Plot(show_label=False, elem_classes="ws-map", elem_id="ws-map", visible=False)
        with gr.Column(scale=3, min_width=320):
            who = gr.Dropdown([], label=label("Person"), elem_id="ws-person", value=None, allow_custom_value=False)
            person = gr.HTML("", elem_id="ws-person-card")
            receipt = gr.HTML("", elem_id="ws-receipt")
            changes = _build_changes()
    with gr.Accordion(label("Enrol somebody"), open=False, elem_id="ws-enrol"):
        enrolling = _build_enrolment(app)

    def draw(names: list[str]) -> Any:
        return plot_speakers([(one, context.gallery.samples(one)) for one in names]) if names else None

    def show(chosen: str | None, wanted: str | None) -> tuple[Any, ...]:
        names = speakers_events.list_names(context)
        chosen = chosen if chosen in names else None
        others = [name for name in names if name != chosen]
        return (
            gr.update(
                value=speakers_events.list_rows(context, wanted or ""),
                headers=[say(head) for head in speakers.HEADERS],
            ),
            gr.update(choices=names, value=chosen),
            speakers_events.show_speaker(context, chosen),
            gr.update(value=draw(names), visible=bool(names)),
            gr.update(choices=others, value=None),
            gr.update(choices=speakers_events.list_clips(context, chosen), value=None),
            gr.update(choices=others, value=None),
        )

    shown = [table, who, person, figure, changes["merge_with"], changes["clip"], changes["clip_to"]]

    def choose(wanted: str, event: gr.SelectData) -> tuple[Any, ...]:
        return show(str(event.row_value[0]), wanted)

    app.load(guard(lambda: show(None, "")), None, shown, **IN_TURN, **QUIET)
    text.submit(guard(show), [who, text], shown, **IN_TURN, **LATEST)
    text.change(lambda wanted: speakers_events.list_rows(context, wanted or ""), [text], [table], **IN_TURN, **QUIET)
    who.input(guard(show), [who, text], shown, **IN_TURN, **LATEST)
    table.select(guard(choose), [text], shown, **IN_TURN, **LATEST)
    _wire_changes(context, changes, show, shown, who, text, receipt)
    _wire_enrolment(context, enrolling, show, shown, who, text, app)


def _build_changes() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Accordion(label("Correct or forget"), open=False, elem_id="ws-changes"):
        with gr.Row():
            parts["new_name"] = gr.Textbox(label=label("New name"))
            parts["rename"] = gr.Button(label("Rename"), size="sm")
        with gr.Row():
            parts["merge_with"] = gr.Dropdown([], label=label("Is the same person as"), value=None)
            parts["merge"] = gr.Button(label("Merge"), size="sm")
        with gr.Row():
            parts["unmerge_name"] = gr.Textbox(label=label("Name that was merged into this person"))
            parts["unmerge"] = gr.Button(label("Undo the merge"), size="sm")
        with gr.Row():
            parts["clip"] = gr.Dropdown([], label=label("Clip"), value=None)
            parts["clip_to"] = gr.Dropdown([], label=label("Belongs to"), value=None)
            parts["reassign"] = gr.Button(label("Reassign the clip"), size="sm")
        with gr.Row():
            parts["confirm"] = gr.Textbox(
                label=label("To forget this person, write their name here"), elem_id="ws-forget-name"
            )
            parts["forget"] = gr.Button(label("Forget for good"), variant="stop", size="sm", elem_id="ws-forget")
    return parts


def _build_enrolment(app: gr.Blocks) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            parts["files"] = gr.File(
                label=label("Clips that show this person speaking"),
                file_count="multiple",
                type="filepath",
                elem_id="ws-clips",
                height=150,
            )
            build_picker_hint(app)
            parts["look"] = gr.Button(label("Look at the clips"), elem_id="ws-look")
            parts["player"] = gr.HTML("", elem_id="ws-enrol-player")
            parts["quality"] = gr.HTML("", elem_id="ws-quality")
        with gr.Column(min_width=320):
            parts["name"] = gr.Textbox(label=label("Name"), elem_id="ws-name")
            parts["session"] = gr.Textbox(
                label=label("Recording occasion"), info=label("Clips of one day and place share it; may stay empty.")
            )
            parts["basis"] = gr.Dropdown(
                [(label(text), str(Basis(basis))) for basis, text in speakers.BASES.items()],
                label=label("Why their way of speaking may be kept"),
                value=None,
                elem_id="ws-basis",
            )
            parts["purpose"] = gr.Textbox(label=label("Purpose, in a sentence"), elem_id="ws-purpose")
            parts["term"] = gr.Number(
                365, label=label("Kept for so many days"), minimum=1, maximum=MAX_TERM_DAYS, precision=0
            )
            parts["collector"] = gr.Textbox(label=label("Who asked"))
            parts["release"] = gr.File(
                label=label("Signed release, of which the checksum alone is kept"), type="filepath", height=140
            )
            parts["notice"] = gr.HTML(speakers.show_notice())
            parts["told"] = gr.Checkbox(label=label("The person was shown the notice"), elem_id="ws-told")
            parts["duplicate"] = gr.Checkbox(label=label("Enrol even who moves like somebody enrolled already"))
            with gr.Row():
                parts["dry"] = gr.Button(label("Try: write nothing"), size="sm", elem_id="ws-dry")
                parts["enrol"] = gr.Button(label("Enrol"), variant="primary", size="sm", elem_id="ws-do-enrol")
            parts["answer"] = gr.HTML("", elem_id="ws-enrolled")
    parts["ids"] = gr.State([])
    parts["timer"] = gr.Timer(EVERY_S, active=False)
    return parts


def _wire_changes(
    context: AppContext, parts: dict[str, Any], show: Any, shown: list[Any], who: Any, text: Any, receipt: Any
) -> None:
    def rename(chosen: str | None, new: str, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        return show(context.gallery.rename(speakers_events.find_speaker(context, chosen).id, new).name, wanted)

    def merge(chosen: str | None, other: str | None, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        if not other:
            raise EngineError("No person was chosen to merge.", "Choose the one who is the same person.")
        return show(context.gallery.merge(speakers_events.find_speaker(context, chosen).id, other).name, wanted)

    def unmerge(name: str, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        return show(context.gallery.unmerge(name).name, wanted)

    def reassign(
        chosen: str | None, clip: int | None, to: str | None, wanted: str, request: gr.Request
    ) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        if clip is None or not to:
            raise EngineError("A clip or its owner was not chosen.", "Choose both.")
        return show(context.gallery.reassign(int(clip), to).name, wanted)

    def forget(chosen: str | None, confirmed: str, wanted: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        speaker = speakers_events.find_speaker(context, chosen)
        if confirmed.strip() != speaker.name:
            raise EngineError(
                "The written name is not that of the chosen person.",
                "Write the name exactly; it cannot be undone.",
            )
        done = speakers.describe_receipt(speaker.name, context.gallery.forget(speaker.id))
        return (*show(None, wanted), done, "")

    quiet = IN_TURN | QUIET
    parts["rename"].click(guard(rename), [who, parts["new_name"], text], shown, **quiet)
    parts["merge"].click(guard(merge), [who, parts["merge_with"], text], shown, **quiet)
    parts["unmerge"].click(guard(unmerge), [parts["unmerge_name"], text], shown, **quiet)
    parts["reassign"].click(guard(reassign), [who, parts["clip"], parts["clip_to"], text], shown, **quiet)
    cleared = [*shown, receipt, parts["confirm"]]
    parts["forget"].click(guard(forget), [who, parts["confirm"], text], cleared, **IN_TURN, **SHOWN)


def _wire_enrolment(
    context: AppContext, parts: dict[str, Any], show: Any, shown: list[Any], who: Any, text: Any, app: gr.Blocks
) -> None:
    fields = [parts[name] for name in ("basis", "purpose", "term", "collector", "told", "release")]

    def look(paths: list[str] | None, request: gr.Request) -> list[str]:
        return speakers_events.submit_clips(context, require_role(request, Role.ENROLLER).name, paths or [])

    def poll(ids: list[str]) -> tuple[Any, ...]:
        clips = speakers_events.read_clips(context, ids)
        is_open = any(one.job.state.is_open for one in clips)
        return gr.update(active=is_open), speakers_events.show_table(clips)

    def show_clips(ids: list[str]) -> tuple[Any, ...]:
        return *poll(ids), speakers_events.show_players(speakers_events.read_clips(context, ids)), ""

    def attempt(name: str, ids: list[str], session: str, duplicate: bool, request: gr.Request) -> str:
        require_role(request, Role.ENROLLER)
        clips = speakers_events.read_clips(context, ids)
        return speakers.describe_admission(speakers_events.try_enrolment(context, name, clips, session, duplicate))

    def enrol(
        request: gr.Request, name: str, ids: list[str], session: str, duplicate: bool, wanted: str, *form: Any
    ) -> tuple[Any, ...]:
        require_role(request, Role.ENROLLER)
        clips = speakers_events.read_clips(context, ids)
        done = speakers_events.enrol(context, name, clips, session, speakers_events.ConsentForm(*form), duplicate)
        return (*show(done.speaker.name, wanted), speakers.describe_enrolment(done))

    def name_collector(request: gr.Request) -> str:
        return speakers_events.name_collector(find_owner(request))

    app.load(name_collector, None, [parts["collector"]], **QUIET)
    app.load(speakers.show_notice, None, [parts["notice"]], queue=False, **QUIET)
    parts["look"].click(guard(look), [parts["files"]], [parts["ids"]], **QUIET)
    drawn = [parts[name] for name in ("timer", "quality", "player", "answer")]
    parts["ids"].change(guard(show_clips), [parts["ids"]], drawn, **IN_TURN, **QUIET)
    parts["timer"].tick(guard(poll), [parts["ids"]], drawn[:2], **IN_TURN, **QUIET)
    asked = [parts["name"], parts["ids"], parts["session"], parts["duplicate"]]
    parts["dry"].click(guard(attempt), asked, [parts["answer"]], **IN_TURN, **SHOWN)
    parts["enrol"].click(guard(enrol), [*asked, text, *fields], [*shown, parts["answer"]], **IN_TURN, **SHOWN)
