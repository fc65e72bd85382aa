"""Event settings, error messages and the user of a request, common to all tabs."""

import logging
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from engine.errors import EngineError
from webapp.accounts.middleware import find_user
from webapp.i18n import say
from webapp.templates import fill

# Results of two events reach the page in their order only if they share a function or a `concurrency_id`. So events
# that write one component share one, and take what may have changed meanwhile from a gr.State, read when they run.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented"}
"""For events that finish immediately."""
LATEST: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
"""For choices: one made while an earlier one is handled is handled next, not dropped."""
SHOWN: dict[str, Any] = {"api_visibility": "undocumented"}
"""For events that take a moment, with progress shown."""
WARNING_S = 30.0  # display time of an error
Given = ParamSpec("Given")
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


def find_owner(request: gr.Request) -> str:
    """Return the name of the logged-in user, or of the local one."""
    return find_user(request).name


def build_picker_hint(app: gr.Blocks) -> None:
    """Show below an upload how an iPhone sends the original, in the language of the browser."""
    hint = gr.HTML(_show_picker_hint(), elem_classes="ws-picker-hint")
    app.load(_show_picker_hint, None, [hint], queue=False, **QUIET)


def _show_picker_hint() -> str:
    return fill("pages.html", "picker_hint")


def guard(act: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Show errors as toasts and leave the page unchanged; unexpected ones are logged."""

    @wraps(act)
    def guarded(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return act(*args, **kwargs)
        except EngineError as error:
            words = _describe(error)
        except Exception:
            _log.exception("an event of the page failed")
            words = say("Something went wrong inside Wayspeak. Try again; the log shows the cause.")
        gr.Warning(words, duration=WARNING_S, title=say("That was not done"))
        return gr.skip()

    return guarded


def _describe(error: EngineError) -> str:
    return f"{escape(error.message)} {escape(error.hint)} ({escape(error.code)})"
