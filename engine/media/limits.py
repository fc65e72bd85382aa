"""Check the properties of a media file against `MediaLimits`; each limit has its own error code."""

from pathlib import Path

from engine.errors import Code
from engine.settings import MediaLimits
from engine.types import FPS

RATE_TOLERANCE = 1.02  # for camera clocks and rounded timestamps


def check_file(path: Path, limits: MediaLimits) -> None:
    """Raise UNREADABLE_VIDEO where there is no file, and FILE_TOO_LARGE for more bytes than allowed."""
    if not path.is_file():
        raise Code.UNREADABLE_VIDEO(f"There is no file {path.name!r}.", "Check the name and the folder.")
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise Code.FILE_TOO_LARGE(
            f"The file has {size / 2**20:.0f} MB; at most {limits.max_bytes / 2**20:.0f} are allowed.",
            "Cut it, or export it at 720p.",
        )


def check_duration(duration_s: float, limits: MediaLimits) -> None:
    """Raise TOO_LONG for a video longer than allowed."""
    if duration_s > limits.max_duration_s + 0.5 / FPS:
        raise Code.TOO_LONG(
            f"The video lasts {duration_s:.0f} seconds; at most {limits.max_duration_s:.0f} are allowed.",
            "Choose a part of it: two handles on the page, --from and --to on the command line.",
        )


def check_pixels(width: int, height: int, limits: MediaLimits) -> None:
    """Raise TOO_MANY_PIXELS for frames larger than allowed."""
    if width * height > limits.max_pixels:
        raise Code.TOO_MANY_PIXELS(
            f"The pictures have {width} x {height} pixels; at most {limits.max_pixels} pixels are allowed.",
            "Export the video at 1080p or smaller.",
        )


def check_frames(count: int, shown_s: float, limits: MediaLimits) -> None:
    """Raise TOO_MANY_PICTURES, RATE_TOO_HIGH or TOO_LONG for the frames counted so far, whatever the header says.

    `shown_s` is the time in seconds from the first to the last of them. The rate is checked over more than a second.
    """
    if count > limits.max_source_frames:
        raise Code.TOO_MANY_PICTURES(
            f"The video has more than the {limits.max_source_frames} pictures allowed.",
            "Cut it into shorter parts, or export it at 25 or 30 pictures a second.",
        )
    if count > RATE_TOLERANCE * limits.max_rate_hz * (shown_s + 1):
        raise Code.RATE_TOO_HIGH(
            f"The video has more than the {limits.max_rate_hz:g} pictures a second that are allowed.",
            "Export it at 25 to 60 pictures a second.",
        )
    check_duration(shown_s, limits)


def check_streams(count: int, limits: MediaLimits) -> None:
    """Raise TOO_MANY_STREAMS for more video and audio streams than allowed."""
    if count > limits.max_streams:
        raise Code.TOO_MANY_STREAMS(
            f"The file has {count} streams of picture and sound; at most {limits.max_streams} are allowed.",
            "Export it with one picture and one sound track.",
        )


def check_audio(channels: int, rate_hz: int, limits: MediaLimits) -> None:
    """Raise SOUND_TOO_LARGE for more channels or samples per second than allowed."""
    if channels > limits.max_channels or rate_hz > limits.max_sound_hz:
        raise Code.SOUND_TOO_LARGE(
            f"The sound has {channels} channels at {rate_hz} Hz; at most {limits.max_channels} channels at "
            f"{limits.max_sound_hz} Hz are allowed.",
            "Export it as stereo at 48000 Hz.",
        )
