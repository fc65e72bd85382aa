"""The Calibration tab: records, which one is in force, their performance, and approval."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from engine.calibration.apply import find_calibration
from engine.calibration.files import list_shipped
from engine.calibration.records import Calibration, CalibrationStatus, Task
from engine.errors import EngineError
from gallery_db.text import clean
from webapp.accounts.middleware import LOCAL, Role, require_role
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.pages.events import LATEST, QUIET, guard
from webapp.templates import fill
from webapp.views.plots import plot_metrics

HEADERS = ("Task", "Version", "State", "In force", "Author", "Approver", "Made", "Record")
TASKS = {
    Task.CONSISTENCY: "face and voice",
    Task.SPANS: "parts of the speech",
    Task.VERIFICATION: "compared with one person",
    Task.IDENTIFICATION: "searched among everybody",
    Task.SOURCE: "source of the motion",
}
STATES = {
    CalibrationStatus.DRAFT: "draft",
    CalibrationStatus.APPROVED: "approved",
    CalibrationStatus.RETIRED: "retired",
}


def build(app: gr.Blocks, context: AppContext) -> None:
    """Build the tab."""
    introduction = gr.HTML(_introduce())
    app.load(_introduce, None, [introduction], queue=False, **QUIET)
    table = gr.Dataframe(
        headers=list(HEADERS), interactive=False, label=label("Records"), elem_id="ws-records", wrap=True
    )
    chosen = gr.Dropdown([], value=None, label=label("Record"), elem_id="ws-record")
    shown = gr.HTML("", elem_id="ws-record-card")
    figure = gr.Plot(visible=False, show_label=False, elem_classes="ws-metrics")
    with gr.Row():
        approver = gr.Textbox(label=label("Approved by"), elem_id="ws-approver", scale=3)
        note = gr.Textbox(label=label("Why it is retired"), elem_id="ws-retire-note", scale=3)
        approve = gr.Button(label("Approve"), size="sm", elem_id="ws-approve")
        retire = gr.Button(label("Retire"), size="sm", variant="stop", elem_id="ws-retire")

    def fill(keep: str | None = None) -> tuple[Any, ...]:
        records, in_force = list_records(context), find_in_force(context)
        choices = [(_name(one), one.id) for one in records]
        picked = next(
            (one for one in records if one.id == keep), next((one for one in records if one.id in in_force), None)
        )
        return (
            gr.update(value=list_rows(records, in_force), headers=[say(head) for head in HEADERS]),
            gr.update(choices=choices, value=picked.id if picked else None),
            describe(picked) if picked else "",
            gr.update(visible=picked is not None, value=plot_metrics(picked.metrics) if picked else None),
        )

    def pick(event: gr.SelectData) -> tuple[Any, ...]:
        return fill(find_record(context, str(event.row_value[-1])).id)

    def agree(number: str | None, name: str, request: gr.Request) -> tuple[Any, ...]:
        user = require_role(request, Role.ADMIN)
        approved = find_record(context, number).approve(name.strip() if user == LOCAL else user.name)
        keep_record(context, approved, number)
        return fill(approved.id)

    def withdraw(number: str | None, why: str, request: gr.Request) -> tuple[Any, ...]:
        require_role(request, Role.ADMIN)
        retired = find_record(context, number).retire(why.strip())
        keep_record(context, retired, number)
        return fill(retired.id)

    outputs = [table, chosen, shown, figure]
    listing = {"concurrency_id": "calibration", **LATEST}
    app.load(guard(fill), None, outputs, **listing)
    chosen.input(guard(fill), [chosen], outputs, **listing)
    table.select(guard(pick), None, outputs, **listing)
    approve.click(guard(agree), [chosen, approver], outputs, concurrency_id="calibration", **QUIET)
    retire.click(guard(withdraw), [chosen, note], outputs, concurrency_id="calibration", **QUIET)


def list_records(context: AppContext) -> list[Calibration]:
    """Return the gallery's and the shipped records without duplicates."""
    found = {one.id: one for one in [*list_shipped(), *context.gallery.calibrations()]}
    return list(found.values())


def find_record(context: AppContext, number: str | None) -> Calibration:
    """Return a record by its id or a prefix of it; raise EngineError if there is none."""
    for one in list_records(context):
        if number and one.id.startswith(number):
            return one
    raise EngineError("No record was chosen.", "Choose one from the table first.")


def keep_record(context: AppContext, record: Calibration, followed: str | None) -> None:
    """Store a record, and before it the shipped one that it supersedes."""
    kept = {one.id for one in context.gallery.calibrations()}
    if followed and followed not in kept:
        context.gallery.keep_calibration(find_record(context, followed))
    context.gallery.keep_calibration(record)


def find_in_force(context: AppContext) -> set[str]:
    """Return the ids of the records in force, one per task and recipe."""
    kept = context.gallery.calibrations()
    pairs = {(one.task, one.recipe) for one in list_records(context)}
    found = [find_calibration(task, recipe, kept) for task, recipe in pairs]
    return {one.id for one in found if one is not None}


def list_rows(records: Sequence[Calibration], in_force: set[str]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            say(TASKS[one.task]),
            one.version,
            say(STATES[one.status]),
            "✔" if one.id in in_force else "",
            clean(one.author),
            clean(one.approver),
            one.created[:10],
            one.id[:12],
        ]
        for one in records
    ]


def describe(record: Calibration) -> str:
    """Show purpose, data and performance of a record."""
    counts, policy, bounds, ranges = record.counts, record.policy, record.bounds, record.bounds_by_length
    facts = [
        (say("Scored by"), record.scored_by),
        (say("Population"), record.population),
        (
            say("Trials"),
            say(
                "{same} of the same speech or person, {different} of others",
                same=counts.same,
                different=counts.different,
            ),
        ),
        (say("People and sources"), f"{counts.people}, {counts.sources}"),
        (say("Clips, and refused by the gates"), f"{counts.clips}, {counts.abstained}"),
        (say("Supported from, against from (log10 LR)"), f"{policy.supported_llr:+.2f}, {policy.against_llr:+.2f}"),
        (say("No log10 LR beyond"), f"{bounds.lower_llr:+.2f}, {bounds.upper_llr:+.2f}"),
        (
            say("No log10 LR beyond, by speech"),
            "; ".join(f"{one.from_s:g} s: {one.lower_llr:+.2f}, {one.upper_llr:+.2f}" for one in ranges),
        ),
        (say("Recipe"), record.recipe),
        (say("Manifest"), record.manifest_sha256),
        (say("Note"), record.note),
    ]
    title = f"{say(TASKS[record.task])} {record.version}: {say(STATES[record.status])}"
    rows = [(head, clean(text)) for head, text in facts if text]
    return fill("pages.html", "calibration", title=title, rows=rows, metrics=record.metrics)


def _name(record: Calibration) -> str:
    return f"{say(TASKS[record.task])} {record.version} · {say(STATES[record.status])} · {record.id[:12]}"


def _introduce() -> str:
    return fill("pages.html", "calibration_note")
