"""Render the preview of a recording: a strip of pictures with two handles that choose a part."""

import base64
import math

import cv2
import numpy as np
from markupsafe import Markup

from engine.media.preview import Preview
from engine.media.selection import format_time
from engine.reports.media import describe_track
from webapp.templates import fill

QUALITY = 70  # of the pictures, as JPEG
FINE_S = 120.0  # a longer recording has steps of a second
AUTOMATIC = 0  # in place of the number of an audio track


def show_strip(length_s: float, preview: Preview | None = None) -> Markup:
    """Show the handles for a recording of this length, over pictures where there are some."""
    step_s = 0.1 if length_s < FINE_S else 1.0
    pictures = [(_encode(image), format_time(at_s)) for at_s, image in preview.pictures] if preview else []
    return fill(
        "preview.html",
        "strip",
        most_s=math.ceil(length_s / step_s) * step_s,
        step_s=step_s,
        length=format_time(length_s),
        zero_s=preview.facts.player_zero_s if preview else 0.0,
        pictures=pictures,
    )


def list_track_choices(preview: Preview, automatic: str) -> list[tuple[str, int]]:
    """Return (title, number) for the automatic choice and for each audio track."""
    tracks = [(f"{one.number}: {describe_track(one)}", one.number) for one in preview.facts.audio_tracks]
    return [(automatic, AUTOMATIC), *tracks]


def _encode(image: np.ndarray) -> str:
    """Encode (H, W, 3) uint8 RGB as a data URL."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
