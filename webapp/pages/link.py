"""The link of the Analyse tab: what is there, and which of several videos is meant."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine.errors import EngineError
from engine.fetch.fetch import describe
from engine.fetch.items import MediaItem, SeveralVideos
from webapp.accounts.middleware import Role, require_role
from webapp.context import AppContext
from webapp.i18n.catalog import label
from webapp.pages import analyse_events, part
from webapp.pages.events import LATEST, QUIET, SHOWN, find_owner, guard
from webapp.pages.part import PREVIEW
from webapp.views import analysis as views
from webapp.views import jobs as job_views


@dataclass(frozen=True, slots=True)
class FoundLink:
    """What a link leads to: its description, its videos if there are several, its length if it is known."""

    url: str
    about: str
    items: tuple[MediaItem, ...] = ()
    length_s: float | None = None


def build_link() -> dict[str, Any]:
    """Build the fields of the link."""
    parts: dict[str, Any] = {}
    with gr.Row():
        parts["url"] = gr.Textbox(label=label("Link to a video"), elem_id="ws-link", scale=4, max_lines=1)
        parts["look"] = gr.Button(label("Look"), size="sm", elem_id="ws-link-look", scale=1, min_width=80)
    parts["about"] = gr.HTML("", elem_id="ws-link-about")
    parts["item"] = gr.Dropdown(
        [], label=label("Which of its videos"), visible=False, value=None, elem_id="ws-link-item"
    )
    parts["found"] = gr.State(None)  # of the last look
    parts["offered"] = gr.State(None)  # link of the videos in `item`
    return parts


def wire_link(context: AppContext, form: dict[str, Any], screen: dict[str, Any]) -> None:
    """List the videos of a link with several, when it is looked up or its job has failed for lack of a choice.

    What was found is shown only where its link still stands in the field.
    """
    controls = [form["part"][name] for name in part.OUTPUTS]
    same = [gr.skip()] * len(controls)

    def look(url: str, item: int | None, offered: str | None, request: gr.Request) -> FoundLink:
        url = url.strip()
        try:
            require_role(request, Role.ANALYST)
            found = describe(url, context.settings.fetch_limits, choose_item(url, item, offered))
        except SeveralVideos as error:
            return FoundLink(url, job_views.describe_items(error.items), error.items)
        except EngineError as error:
            return FoundLink(url, views.describe_error(error))
        return FoundLink(url, job_views.describe_link(found), length_s=found.duration_s)

    def show(found: FoundLink | None, url: str, files: list[str] | None) -> tuple[Any, ...]:
        if found is None or found.url != url.strip():
            return gr.skip(), gr.skip(), gr.skip(), *same
        handles = part.show_length(found.length_s, found.url) if found.length_s and not files else same
        return found.about, *(offer(found.items, found.url) if found.items else (gr.skip(), gr.skip())), *handles

    def forget(files: list[str] | None) -> tuple[Any, ...]:
        """Forget what was found, and the part chosen, of another link."""
        return "", *offer((), None), *(same if files else part.hide())

    def list_items(version: tuple[str, str] | None, url: str, request: gr.Request) -> tuple[Any, ...]:
        job = analyse_events.find_job(context, find_owner(request), version[0] if version else None)
        items = context.jobs.read_items(job.id) if job is not None and not job.state.is_open else ()
        if job is None or not items or url.strip() not in ("", job.url):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        return job.url, job_views.describe_items(items), *offer(items, job.url)

    items = [form["about"], form["item"], form["offered"]]
    form["look"].click(
        guard(look), [form["url"], form["item"], form["offered"]], [form["found"]],
        concurrency_id="fetch", show_progress_on=[form["about"]], **SHOWN,
    ).then(
        guard(show), [form["found"], form["url"], form["files"]], [*items, *controls], concurrency_id=PREVIEW, **QUIET
    )  # fmt: skip
    form["url"].input(guard(forget), [form["files"]], [*items, *controls], concurrency_id=PREVIEW, **LATEST)
    screen["version"].change(
        guard(list_items), [screen["version"], form["url"]], [form["url"], *items], concurrency_id=PREVIEW, **QUIET
    )


def choose_item(url: str, item: int | None, offered: str | None) -> int:
    """Return the number of the chosen video, if it was offered for this link; else 0."""
    return item if item and offered == url.strip() else 0


def offer(items: tuple[MediaItem, ...], url: str | None) -> tuple[Any, str | None]:
    """Offer these videos of a link without a choice; without any, hide the field."""
    choices = [(f"{one.number}: {one.name}", one.number) for one in items]
    return gr.update(visible=bool(items), choices=choices, value=None), url
