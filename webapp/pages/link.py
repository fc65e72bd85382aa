"""The link of the Analyse tab: what is there, and which of several videos is meant."""

from typing import Any

import gradio as gr

from engine.errors import EngineError
from engine.fetch.fetch import describe
from engine.fetch.items import MediaItem, SeveralVideos
from webapp.accounts.middleware import Role, require_role
from webapp.context import AppContext
from webapp.i18n.catalog import label
from webapp.pages import analyse_events, part
from webapp.pages.events import QUIET, SHOWN, find_owner, guard
from webapp.views import analysis as views
from webapp.views import jobs as job_views


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
    return parts


def wire_link(context: AppContext, form: dict[str, Any], screen: dict[str, Any]) -> None:
    """List the videos of a link with several, when it is looked up or its job has failed for lack of a choice."""
    controls = [form["part"][name] for name in part.OUTPUTS]
    same = [gr.skip()] * len(controls)

    def look(url: str, item: int | None, files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            require_role(request, Role.ANALYST)
            found = describe(url.strip(), context.settings.fetch_limits, item or 0)
        except SeveralVideos as error:
            return job_views.describe_items(error.items), offer(error.items), *same
        except EngineError as error:
            return views.describe_error(error), gr.skip(), *same
        handles = part.show_length(found.duration_s) if found.duration_s and not files else same
        return job_views.describe_link(found), gr.skip(), *handles

    def forget(files: list[str] | None) -> tuple[Any, ...]:
        """Forget what was found, and the part chosen, of another link."""
        return "", offer(()), *(same if files else part.hide())

    def list_items(version: tuple[str, str] | None, request: gr.Request) -> tuple[Any, ...]:
        job = analyse_events.find_job(context, find_owner(request), version[0] if version else None)
        items = context.jobs.read_items(job.id) if job is not None and not job.state.is_open else ()
        if job is None or not items:
            return gr.skip(), gr.skip(), gr.skip()
        return job.url, job_views.describe_items(items), offer(items)

    asked, found = [form["url"], form["item"], form["files"]], [form["about"], form["item"], *controls]
    form["look"].click(guard(look), asked, found, concurrency_id="fetch", **SHOWN)
    form["url"].input(guard(forget), [form["files"]], found, **QUIET)
    screen["version"].change(
        guard(list_items), [screen["version"]], [form["url"], form["about"], form["item"]], **QUIET
    )


def offer(items: tuple[MediaItem, ...]) -> Any:
    """Offer these videos without a choice; without any, hide the field."""
    return gr.update(
        visible=bool(items), choices=[(f"{one.number}: {one.name}", one.number) for one in items], value=None
    )
