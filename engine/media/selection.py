"""Part and audio of a recording to analyse: times as people write them, names of channels, and checks."""

import math
import re

from engine.errors import Code
from engine.types import MediaSelection

CLOCK = re.compile(r"(?:(?:(?P<hours>\d{1,3}):)?(?P<minutes>\d{1,4}):)?(?P<seconds>\d{1,6}(?:[.,]\d{1,6})?)")
CHANNELS = {"mix": "mix", "left": "FL", "right": "FR"}
NAMED = re.compile(r"[A-Z]{2,4}[0-9]{0,2}")
"""FFmpeg's names: FL, FR, FC, LFE, BL, SL, TFL, LFE2 ..."""
MAX_TRACK = 1000
TIMES = "Write seconds, mm:ss or h:mm:ss, such as 75, 1:15 or 0:01:15."


def parse_time(text: str) -> float:
    """Return the seconds of a time written as seconds, mm:ss or h:mm:ss; raise ValueError for any other text."""
    found = CLOCK.fullmatch(text.strip())
    if found is not None:
        hours, minutes, value_s = (
            int(found["hours"] or 0),
            int(found["minutes"] or 0),
            float(found["seconds"].replace(",", ".")),
        )
        is_split = found["minutes"] is not None
        if not (is_split and value_s >= 60) and not (found["hours"] is not None and minutes >= 60):
            return hours * 3600 + minutes * 60 + value_s
    raise ValueError(f"{text.strip()[:40]!r} is no time. {TIMES}")


def format_time(seconds: float) -> str:
    """Return h:mm:ss, with a tenth of a second where there is one."""
    tenths = round(max(seconds, 0.0) * 10)
    whole, tenth = divmod(tenths, 10)
    text = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{text}.{tenth}" if tenth else text


def parse_channel(text: str) -> str:
    """Return a channel as `MediaSelection` names it, of mix, left, right or a name of FFmpeg; raise ValueError."""
    name = text.strip()
    found = CHANNELS.get(name.lower(), name.upper())
    if found != "mix" and NAMED.fullmatch(found) is None:
        raise ValueError(f"{name[:40]!r} is no channel. Write mix, left, right, or a name of FFmpeg: FL, FR, FC ...")
    return found


def check_selection(selection: MediaSelection) -> None:
    """Raise BAD_SELECTION for a selection that fits no recording."""
    start, end = selection.from_s, selection.to_s
    if not math.isfinite(start) or start < 0 or (end is not None and not math.isfinite(end)):
        raise Code.BAD_SELECTION(f"The part from {start:g} to {end} s is none of a recording.", TIMES)
    if end is not None and end <= start:
        raise Code.BAD_SELECTION(
            f"The part ends at {format_time(end)}, which is not after its start at {format_time(start)}.",
            "Choose an end after the start.",
        )
    if selection.audio_track is not None and not 1 <= selection.audio_track <= MAX_TRACK:
        raise Code.BAD_SELECTION(
            f"There is no audio track {selection.audio_track}.", "Audio tracks are counted from 1: 1 for the first."
        )
    if selection.channel is not None:
        try:
            parse_channel(selection.channel)
        except ValueError as cause:
            raise Code.BAD_SELECTION(str(cause), "Leave it out for the usual choice.") from cause
