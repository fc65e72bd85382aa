"""The part and the sound of a recording to analyse, chosen on a preview of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from engine.errors import Code, EngineError
from engine.media.preview import make_preview
from engine.media.selection import format_time, parse_time
from engine.settings import MediaLimits
from engine.types import MediaSelection
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.views import analysis as views
from webapp.views import preview as preview_views

AUTOMATIC = "auto"
MAX_BEYOND_S = 1.0  # a later end is an error, or of another recording
END_TOLERANCE_S = 0.06  # times are shown in tenths of a second


@dataclass(frozen=True, slots=True)
class PartForm:
    """Fields of the part and the sound, as the page has them."""

    start: str = ""
    end: str = ""
    track: int | None = None
    channel: str | None = None
    length_s: float | None = None  # of the previewed recording; None: nothing is previewed
    of: str | None = None  # path, link or job id of the previewed recording

    def to_selection(self) -> MediaSelection:
        """Return the selection; raise BAD_SELECTION for a text that is no time, or a part that is none."""
        channel = None if self.channel in (None, AUTOMATIC) else self.channel
        if self.length_s is None:  # the fields are hidden
            return MediaSelection(channel=channel)
        start_s, end_s = _read_time(self.start) or 0.0, _read_time(self.end)
        if start_s >= self.length_s:
            raise Code.BAD_SELECTION(
                f"The part starts at {format_time(start_s)}, and the recording is {format_time(self.length_s)} long.",
                "Choose an earlier start.",
            )
        if end_s is not None and end_s > self.length_s + MAX_BEYOND_S:
            raise Code.BAD_SELECTION(
                f"The part ends at {format_time(end_s)}, and the recording is {format_time(self.length_s)} long.",
                "Choose an earlier end, or leave it empty.",
            )
        if end_s is not None and end_s >= self.length_s - END_TOLERANCE_S:
            end_s = None  # the end of the recording
        return MediaSelection(start_s, end_s, self.track or None, channel)


def _read_time(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return parse_time(text)
    except ValueError as cause:
        raise Code.BAD_SELECTION(str(cause), "Or leave it empty for the whole recording.") from cause


def build_part() -> dict[str, Any]:
    """Build the controls; all but the channel are hidden until a recording is previewed."""
    parts: dict[str, Any] = {"strip": gr.HTML("", elem_id="ws-part")}
    with gr.Row(visible=False) as parts["times"]:
        parts["from"] = gr.Textbox(label=label("From"), elem_id="ws-part-from", max_lines=1, min_width=100)
        parts["to"] = gr.Textbox(label=label("To"), elem_id="ws-part-to", max_lines=1, min_width=100)
    parts["track"] = gr.Dropdown([], label=label("Audio track"), visible=False, value=None, elem_id="ws-part-track")
    parts["length"] = gr.State(None)  # seconds of the previewed recording, and its path, link or job id
    parts["source"] = gr.State(None)  # id of the job that it belongs to; None: an upload or a link
    return parts


def build_channel() -> gr.Dropdown:
    """Build the choice of the audio channel."""
    with gr.Accordion(label("Options for the sound"), open=False, elem_id="ws-options"):
        return gr.Dropdown(
            [
                (label("Automatic"), AUTOMATIC),
                (label("All channels, mixed"), "mix"),
                (label("Left"), "FL"),
                (label("Right"), "FR"),
            ],
            value=AUTOMATIC,
            label=label("Sound channel"),
            info=label("Choose one where the channels hold different sound."),
            elem_id="ws-channel",
        )


PREVIEW = "preview"  # of the events that write `OUTPUTS` or the fields of the link: they run one after the other
OUTPUTS = ("strip", "times", "from", "to", "track", "length", "source")


def hide() -> tuple[Any, ...]:
    """Return the values of `OUTPUTS` without a recording."""
    return "", gr.update(visible=False), "", "", gr.update(visible=False, choices=[], value=None), None, None


def show_length(length_s: float, url: str) -> tuple[Any, ...]:
    """Return the values of `OUTPUTS` for a recording of which only the length is known."""
    return (preview_views.show_strip(length_s), *_show_times(length_s), *hide()[4:5], (length_s, url), None)


def show_recording(path: Path, limits: MediaLimits, source: str | None = None) -> tuple[Any, ...]:
    """Return the values of `OUTPUTS` for a file; its error where it cannot be read."""
    try:
        preview = make_preview(path, limits)
    except EngineError as error:
        return (views.describe_error(error), *hide()[1:])
    length_s, choices = preview.facts.duration_s, preview_views.list_track_choices(preview, say("Automatic"))
    track = gr.update(visible=len(choices) > 2, choices=choices, value=preview_views.AUTOMATIC)
    length = (length_s, source or str(path))
    return preview_views.show_strip(length_s, preview), *_show_times(length_s), track, length, source


def _show_times(length_s: float) -> tuple[Any, str, str]:
    return gr.update(visible=True), format_time(0.0), format_time(length_s)


def make_previewer(limits: MediaLimits) -> Callable[[list[str] | None, str | None], Any]:
    """Return the handler of a changed upload: one file is previewed, several are analysed whole."""

    def preview(paths: list[str] | None, source: str | None) -> Any:
        if not paths and source is not None:  # the recording of a job is previewed instead
            return gr.skip()
        return show_recording(Path(paths[0]), limits) if paths and len(paths) == 1 else hide()

    return preview
