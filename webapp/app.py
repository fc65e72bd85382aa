"""The page: layout and wiring, no logic. Importing this module switches Gradio's telemetry off first."""

import os
from pathlib import Path
from typing import Any

# Both are read by Gradio and by the hub library when they are imported, so they come before.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from engine.methods import TITLES, Method, list_lacking, list_methods
from engine.settings import Settings
from engine.types import Analysis, SecondOpinion, SyncCurve, TrackReport
from webapp import handlers, views
from webapp.engines import Engines
from webapp.examples import EXAMPLES, find_examples
from webapp.figures import plot_curve, plot_curves, plot_timeline

DELETE_CACHE = (600, 86_400)  # every ten minutes, what is older than a day
# By ending too: not every system knows the media type of each.
FILE_TYPES = ["video", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"]
QUEUE = {"max_size": 20, "api_open": False}
HERE = Path(__file__).parent


def build_app(engines: Engines, settings: Settings) -> gr.Blocks:
    """Lay the page out around the engines; one heavy job at a time, the rest of the page stays alive."""
    with gr.Blocks(title="Wayspeak", delete_cache=DELETE_CACHE, analytics_enabled=False) as app:
        gr.HTML(
            "<header><h1>Wayspeak</h1><p>Do the face and the voice in a video belong to the same speech? "
            "Everything runs on this machine; no video leaves it.</p></header>",
            elem_classes="ws-title",
        )
        with gr.Tab("Analyse"):
            _lay_out_analysis(app, engines, settings)
    return app.queue(**QUEUE)


def launch_settings(settings: Settings, host: str, port: int) -> dict[str, Any]:
    """Say how the server is run: reachable from this machine alone, nothing shared, kept, traced or shown in errors."""
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
        "theme": _theme(),
        "css": (HERE / "page.css").read_text("utf-8"),
        "head": f"<script>{(HERE / 'page.js').read_text('utf-8')}</script>",
    }


def _theme() -> gr.themes.Base:
    """Soft with system fonts, and with text on buttons that meets a contrast of 4.5."""
    theme = gr.themes.Soft(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="#52565e",
        body_text_color_subdued_dark="#b4b8c0",
        block_info_text_color="#52565e",
        block_info_text_color_dark="#b4b8c0",
    )


def _lay_out_analysis(app: gr.Blocks, engines: Engines, settings: Settings) -> None:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            upload = gr.File(label="Video", file_types=FILE_TYPES, type="filepath", height=150)
            with gr.Row():
                buttons = [gr.Button(example.title, size="sm") for example in EXAMPLES]
            gr.Textbox(
                label="Link to a video",
                info="Switched off in this version: download the video yourself and upload the file.",
                interactive=False,
                elem_id="ws-link",
            )
            method = gr.Dropdown([Method().title], value=Method().title, label="Method", elem_id="ws-method")
            lacking = gr.HTML("", elem_id="ws-lacking")
            start = gr.Button("Analyse", variant="primary", elem_id="ws-analyse")
        with gr.Column(scale=3, min_width=320):
            player = gr.HTML(views.show_player(None))
    summary = gr.HTML(views.welcome(), elem_id="ws-summary", min_height=120)
    download = gr.DownloadButton("Download the report (JSON)", visible=False, elem_id="ws-json", size="sm")
    result = gr.State(None)
    _wire(engines, settings, upload, buttons, method, start, player, summary, download, result)
    app.load(
        lambda: _offer_methods(settings), None, [method, lacking], show_progress="hidden", api_name="offer_methods"
    )

    @gr.render(inputs=[result], triggers=[result.change], show_progress="hidden")
    def show_faces(analysis: Analysis | None) -> None:
        if analysis is not None:
            for track in analysis.tracks:
                _lay_out_face(track, analysis)


def _wire(
    engines: Engines,
    settings: Settings,
    upload: gr.File,
    buttons: list[gr.Button],
    method: gr.Dropdown,
    start: gr.Button,
    player: gr.HTML,
    summary: gr.HTML,
    download: gr.DownloadButton,
    result: gr.State,
) -> None:
    def analyse(
        path: str | None,
        title: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str, Analysis | None, Any]:
        outcome = handlers.analyse_file(
            lambda: engines.take(handlers.find_method(title, settings.data_dir)),
            path,
            lambda share, text: progress(share, desc=text),
            _uploads(),
        )
        button = gr.DownloadButton(value=outcome.download, visible=outcome.download is not None)
        return outcome.summary, outcome.analysis, button

    upload.change(handlers.show_video, [upload], [player], show_progress="hidden", api_name="show_video")
    for number, button in enumerate(buttons):
        button.click(lambda n=number: _take_example(settings, n), None, [upload], api_name=f"take_example_{number + 1}")
    start.click(
        analyse,
        [upload, method],
        [summary, result, download],
        api_name="analyse",
        concurrency_id="engine",
        concurrency_limit=1,
        show_progress_on=[summary],
        trigger_mode="once",
    )


def _uploads() -> Path:
    """The folder that Gradio serves files from; all in it ages away."""
    return Path(get_upload_folder())


def _take_example(settings: Settings, number: int) -> str | None:
    paths = find_examples(settings.data_dir)
    if not paths:
        gr.Warning("The examples have not been made yet. Run: python -m webapp.examples")
        return None
    return save_file_to_cache(paths[number], str(_uploads()))


def _offer_methods(settings: Settings) -> tuple[Any, str]:
    """List what is there now, and name what is not."""
    titles = [method.title for method in list_methods(settings.data_dir)]
    return gr.Dropdown(choices=titles), views.describe_methods(list_lacking(settings.data_dir))


def _lay_out_face(track: TrackReport, analysis: Analysis) -> None:
    """Show one face: words above, then timeline and offset curve side by side; paper mode has no timeline."""
    found = track.consistency
    with gr.Column(elem_classes="ws-card"):
        gr.HTML(views.describe_face(track))
        if found.curve is None:
            return
        with gr.Row():
            if found.windows:
                with gr.Column(scale=3, min_width=320):
                    timeline = plot_timeline(found.windows, analysis.duration_s)
                    gr.Plot(timeline, show_label=False, elem_classes="ws-timeline")
            with gr.Column(scale=2, min_width=320):
                gr.Plot(_plot_offsets(found.curve, found.second, analysis), show_label=False, elem_classes="ws-curve")
        if found.windows:
            gr.HTML(views.list_windows(found.windows))


def _plot_offsets(curve: SyncCurve, second: SecondOpinion | None, analysis: Analysis) -> Any:
    if second is None:
        return plot_curve(curve)
    return plot_curves((TITLES[analysis.model], curve), (TITLES[second.model], second.curve))
