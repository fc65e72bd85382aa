"""Many files and links at once: submitted as one batch, followed per item, downloaded as CSV or JSON lines."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr
from gradio.utils import get_upload_folder

from gallery_db.text import clean
from webapp.accounts.middleware import Role, require_role
from webapp.analysis.records import AnalysisRequest
from webapp.batch import rows as batch
from webapp.batch.sources import Source, read_sources
from webapp.context import AppContext
from webapp.errors import WebCode
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.jobs.records import Job
from webapp.pages.events import LATEST, QUIET, find_owner, guard
from webapp.templates import fill
from webapp.views.jobs import SIGNS, STATE_WORDS

EVERY_S = 3.0
BATCH = "batch-"  # prefix of these batches; those of the Speakers tab have another
HEADERS = ("", "Item", "State", "Error", "Score", "Offset, s", "Reasons")


def build(app: gr.Blocks, context: AppContext, method: gr.Dropdown) -> None:
    """Build the accordion."""
    with gr.Accordion(label("Many at once"), open=False, elem_id="ws-batch"):
        with gr.Row(equal_height=False):
            with gr.Column(min_width=320):
                links = gr.Textbox(label=label("Links, one a line"), lines=4, elem_id="ws-batch-links")
                listed = gr.File(
                    label=label("A list: CSV with a column url, or a text with a link a line"),
                    file_types=[".csv", ".tsv", ".txt"],  # of a text the ending decides
                    type="filepath",
                    height=110,
                )
            with gr.Column(min_width=320):
                files = gr.File(
                    label=label("Videos"),
                    file_count="multiple",
                    type="filepath",
                    elem_id="ws-batch-files",
                    height=150,
                )
                start = gr.Button(label("Start the batch"), variant="primary", elem_id="ws-batch-start")
        chosen = gr.Dropdown([], value=None, label=label("Batch"), elem_id="ws-batch-choice")
        refused = gr.HTML("", elem_id="ws-batch-refused")
        table = gr.Dataframe(
            headers=list(HEADERS), interactive=False, label=label("Items"), elem_id="ws-batch-table", wrap=True
        )
        with gr.Row():
            # Gradio translates these labels too, although its types do not say so.
            as_csv = gr.DownloadButton(
                label("Results (CSV)"),  # type: ignore[arg-type]
                size="sm",
                visible=False,
                elem_id="ws-batch-csv",
            )
            as_jsonl = gr.DownloadButton(label("Results (JSON lines)"), size="sm", visible=False)  # type: ignore[arg-type]
        timer = gr.Timer(EVERY_S, active=False)

    shown = gr.State(None)  # name of the shown batch

    def show(name: str | None, request: gr.Request) -> tuple[Any, ...]:
        owner = find_owner(request)
        batches = list_batches(context, owner)
        name = name if name in dict(batches).values() else None
        rows = batch.list_job_rows(context.jobs, name) if name else []
        is_open = any(row.status in ("QUEUED", "RUNNING") for row in rows)
        paths = write_downloads(rows) if rows and not is_open else (None, None)
        downloads = [gr.update(value=path, visible=path is not None) for path in paths]
        return (
            gr.update(choices=batches, value=name),
            gr.update(value=list_rows(rows)),
            *downloads,
            gr.update(active=is_open),
        )

    def begin(
        request: gr.Request, written: str, listing: str | None, paths: list[str] | None, title: str | None
    ) -> tuple[Any, ...]:
        owner = require_role(request, Role.ANALYST).name
        question = AnalysisRequest(title) if title else AnalysisRequest()
        name, left_out = submit(context, owner, written, listing, paths or [], question)
        return name, describe_refused(left_out)

    outputs = [chosen, table, as_csv, as_jsonl, timer]
    app.load(drawn := guard(show), [shown], outputs, **QUIET)
    timer.tick(drawn, [shown], outputs, **QUIET)
    shown.change(drawn, [shown], outputs, **QUIET)
    chosen.input(lambda name: name, [chosen], [shown], **LATEST)
    start.click(guard(begin), [links, listed, files, method], [shown, refused], trigger_mode="once", **QUIET)


def submit(
    context: AppContext, owner: str, links: str, listing: str | None, paths: Sequence[str], question: AnalysisRequest
) -> tuple[str, list[batch.BatchRow]]:
    """Submit all items as one batch; return its name and the rows of refused items, or raise BAD_BATCH.

    A list may name links only: no user may name files of the server.
    """
    uploads = {str(Path(path)) for path in paths}
    given = [line.strip() for line in links.splitlines() if line.strip() and not line.strip().startswith("#")]
    invalid = [one for one in given if not one.lower().startswith(("http://", "https://"))]
    if invalid:
        raise WebCode.BAD_BATCH(
            f"{invalid[0][:80]!r} is not a link.", "Write links that begin with http:// or https://."
        )
    sources = read_sources([*given, *([listing] if listing else []), *uploads]) if given or listing or paths else []
    local = [one for one in sources if one.path is not None and str(one.path) not in uploads]
    if local:
        raise WebCode.BAD_BATCH(
            f"The list names a file, {clean(local[0].written)[:80]}.",
            "List links only, and upload the files themselves.",
        )
    if not sources:
        raise WebCode.BAD_BATCH("Nothing was given.", "Write links, or upload videos or a list.")
    name = f"{BATCH}{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:8]}"
    return name, batch.submit(context.jobs, owner, [_name_upload(one) for one in sources], question, name)


def list_batches(context: AppContext, owner: str) -> list[tuple[str, str]]:
    """Return (title, name) of the owner's recent batches."""
    jobs: list[Job] = context.jobs.list(owner, limit=1000)
    names = dict.fromkeys(job.batch for job in jobs if job.batch and job.batch.startswith(BATCH))
    return [(f"{name.removeprefix(BATCH)[:15]} UTC", name) for name in names]


def list_rows(rows: Sequence[batch.BatchRow]) -> list[list[Any]]:
    """Return the rows of the table."""
    words = {str(state): f"{SIGNS[state]} {say(text)}" for state, text in STATE_WORDS.items()}
    return [
        [
            row.number,
            clean(row.name),
            words.get(row.status, row.status),
            row.error_code or "",
            "" if row.score is None else f"{row.score:.3f}",
            "" if row.offset_s is None else f"{row.offset_s:+.2f}",
            ", ".join(row.reasons),
        ]
        for row in rows
    ]


def write_downloads(rows: Sequence[batch.BatchRow]) -> tuple[str, str]:
    """Write both files into Gradio's cache, which deletes them after a while."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder))
    batch.write_results(place, rows)
    return str(place / "results.csv"), str(place / "results.jsonl")


def describe_refused(rows: Sequence[batch.BatchRow]) -> str:
    """List refused items and the reasons."""
    return fill("pages.html", "refused", rows=rows)


def _name_upload(source: Source) -> Source:
    """Show an upload by its file name only: its path in the cache is meaningless to a user."""
    return source if source.path is None else Source(source.number, source.path.name, source.path)
