"""The whole page: tabs and launch settings. Importing this module turns Gradio's telemetry off first."""

import os
from pathlib import Path
from typing import Any

# Gradio and the hub library read both at import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr

from engine.settings import Settings
from webapp.accounts.middleware import LOCAL, Role, find_user
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label, translations
from webapp.pages import about, analyse, calibration, history, speakers
from webapp.pages.events import QUIET
from webapp.templates import fill

DELETE_CACHE = (600, 86_400)  # every ten minutes, files older than a day
QUEUE = {"max_size": 500, "api_open": False}  # several short events for each page that loads
ROLES = {Role.VIEWER: "viewer", Role.ANALYST: "analyst", Role.ENROLLER: "enroller", Role.ADMIN: "administrator"}
HERE = Path(__file__).parent


def build_app(context: AppContext) -> gr.Blocks:
    """Build all tabs; heavy work runs in the workers, so the page stays responsive."""
    with gr.Blocks(title="Wayspeak", delete_cache=DELETE_CACHE, analytics_enabled=False) as app:
        title = gr.HTML(_introduce(), elem_classes="ws-title")
        app.load(_introduce, None, [title], queue=False, **QUIET)
        with gr.Tabs(elem_id="ws-tabs") as tabs:
            with gr.Tab(label("Analyse"), id="analyse"):
                shown_job = analyse.build(app, context)
            with gr.Tab(label("Speakers"), id="speakers"):
                speakers.build(app, context)
            with gr.Tab(label("History"), id="history") as tab:
                history.build(app, context, shown_job, tabs, tab)
            with gr.Tab(label("Calibration"), id="calibration"):
                calibration.build(app, context)
            with gr.Tab(label("About"), id="about"):
                about.build(app, context)
    return app.queue(**QUEUE)


def launch_settings(settings: Settings, host: str, port: int) -> dict[str, Any]:
    """Return the launch settings: no sharing, tracing or error details, and a limited number of sessions."""
    return {
        "server_name": host,
        "server_port": port,
        "share": False,
        "inbrowser": False,
        "allowed_paths": [],
        "blocked_paths": [str(settings.data_dir)],
        "max_file_size": settings.limits.max_bytes,
        "run_history": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "show_error": False,
        "quiet": True,
        "footer_links": [],
        "ssr_mode": False,
        "pwa": False,
        "strict_cors": True,
        "state_session_capacity": 50,
        "i18n": translations(),
        "theme": _theme(),
        "css": (HERE / "page.css").read_text("utf-8"),
        "head": f"<script>{(HERE / 'page.js').read_text('utf-8')}</script>",
    }


def _introduce(request: gr.Request | None = None) -> str:
    """Show the purpose of the page, and the user's name if accounts are on."""
    user = find_user(request)
    role = "" if user == LOCAL else say(ROLES[user.role])
    return fill("pages.html", "header", user=user, role=role)


def _theme() -> gr.themes.Base:
    """Return the Soft theme with system fonts and a contrast of at least 4.5 for texts, labels and links."""
    theme = gr.themes.Soft(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="#52565e",
        body_text_color_subdued_dark="#b4b8c0",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        block_label_text_color="*primary_800",
        block_title_text_color="*primary_800",
        link_text_color_dark="*primary_300",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited_dark="*primary_300",
        link_text_color_active_dark="*primary_300",
        block_info_text_color="#52565e",
        block_info_text_color_dark="#b4b8c0",
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
    )
