"""Facts about what of a recording was judged: audio track, channel, part, clock; as templates for any language."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.media.selection import format_time
from engine.types import AudioTrack, MediaReport, MediaSelection

MAX_TEXT = 80  # characters of a title
MIN_ZERO_S = 0.0005  # a smaller difference of clocks is not visible in a report


class Head(StrEnum):
    """Name of a fact."""

    SOUND = "Judged sound"
    CHANNEL = "Channel"
    OTHERS = "Other sound"
    PART = "Part"
    TIMES = "Times"
    SEAMS = "Joints"
    ROTATION = "Rotation"
    LEFT_OUT = "Faces left out"


class Template(StrEnum):
    """Text of a fact; its values are numbers, times and names of the file."""

    TRACK = "audio track {n} of {total}: {about}"
    NO_SOUND = "the recording has no audio track that can be judged"
    MIX = "all channels, mixed"
    LEFT = "left channel (FL)"
    RIGHT = "right channel (FR)"
    OTHER_CHANNEL = "channel {name}"
    OTHER = "audio track {n}, not judged: {about}"
    OTHER_SPEECH = "audio track {n}, not judged: {about}; {speech} s of speech found"
    PART = "{start} to {end}"
    ZERO = "0 is the first picture: {zero} s on the file's own clock, {player} s in a player"
    SEAM = "at {at} the file's clock goes from {before} s to {after} s"
    TURNED = "the pictures were turned by {deg}° clockwise"
    LEFT_OUT = "up to {n} at one time"


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact."""

    head: Head
    text: Template
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the English text."""
        return self.text.format(**self.values)


def list_facts(media: MediaReport) -> tuple[Fact, ...]:
    """List what was judged and what else there was; empty for a report of an earlier version."""
    return tuple(_list_facts(media)) if media.to_s is not None else ()


def is_ordinary(media: MediaReport) -> bool:
    """Return whether no fact needs attention: one track, all channels, from the start, a clock from 0 without seams."""
    return (
        len(media.audio_tracks) <= 1
        and media.channel in (None, "mix")
        and media.from_s == 0
        and not has_own_clock(media)
        and media.rotation_deg == 0
        and media.faces_left_out == 0
    )


def has_own_clock(media: MediaReport) -> bool:
    """Return whether the file's own clock differs from media time."""
    return abs(media.zero_s) >= MIN_ZERO_S or bool(media.seams)


def to_file_time(media: MediaReport, time_s: float) -> float:
    """Return the time on the file's own clock of a media time in seconds."""
    earlier = [seam for seam in media.seams if seam.at_s <= time_s]
    return earlier[-1].after_s + time_s - earlier[-1].at_s if earlier else time_s + media.zero_s


def describe_channel(name: str) -> Fact:
    """Return the fact about a channel as `MediaReport.channel` names it."""
    known = {"mix": Template.MIX, "FL": Template.LEFT, "FR": Template.RIGHT}
    if name in known:
        return Fact(Head.CHANNEL, known[name])
    return Fact(Head.CHANNEL, Template.OTHER_CHANNEL, {"name": name})


def describe_track(track: AudioTrack) -> str:
    """Describe an audio track by what the file says of it: language, title, codec, channels."""
    title = f"“{_clean(track.title)}”" if track.title else None
    program = f"program {track.program}" if track.program is not None else None
    default = "default" if track.is_default else None
    channels = " ".join(track.channels)
    language = _clean(track.language) if track.language else None
    return ", ".join(one for one in (language, title, track.codec, channels, program, default) if one)


def _clean(text: str) -> str:
    """Shorten a text of the file, and replace characters that control a terminal."""
    return "".join(one if one.isprintable() else " " for one in text[:MAX_TEXT])


def read_judged(media: MediaReport) -> MediaSelection:
    """Return what was judged as a selection."""
    return MediaSelection(media.from_s, media.to_s, media.audio_track, media.channel)


def describe_selection(selection: MediaSelection) -> str:
    """Describe a selection in a few characters, such as `0:01:00–0:02:00 · #2 · FL`; empty for the default."""
    start, end = format_time(selection.from_s), "" if selection.to_s is None else format_time(selection.to_s)
    parts = [
        f"{start}–{end}" if selection.from_s or end else "",
        "" if selection.audio_track is None else f"#{selection.audio_track}",
        selection.channel or "",
    ]
    return " · ".join(part for part in parts if part)


def _list_facts(media: MediaReport) -> Iterator[Fact]:
    judged = next((one for one in media.audio_tracks if one.number == media.audio_track), None)
    if judged is None:
        yield Fact(Head.SOUND, Template.NO_SOUND)
    else:
        values = {"n": judged.number, "total": len(media.audio_tracks), "about": describe_track(judged)}
        yield Fact(Head.SOUND, Template.TRACK, values)
    if media.channel is not None:
        yield describe_channel(media.channel)
    for track in media.audio_tracks:
        if track is not judged:
            yield _describe_other(track)
    assert media.to_s is not None
    yield Fact(Head.PART, Template.PART, {"start": format_time(media.from_s), "end": format_time(media.to_s)})
    if abs(media.zero_s) >= MIN_ZERO_S or abs(media.player_zero_s) >= MIN_ZERO_S:
        yield Fact(Head.TIMES, Template.ZERO, {"zero": f"{media.zero_s:.2f}", "player": f"{media.player_zero_s:.2f}"})
    for seam in media.seams:
        values = {"at": format_time(seam.at_s), "before": f"{seam.before_s:.2f}", "after": f"{seam.after_s:.2f}"}
        yield Fact(Head.SEAMS, Template.SEAM, values)
    if media.rotation_deg:
        yield Fact(Head.ROTATION, Template.TURNED, {"deg": media.rotation_deg})
    if media.faces_left_out:
        yield Fact(Head.LEFT_OUT, Template.LEFT_OUT, {"n": media.faces_left_out})


def _describe_other(track: AudioTrack) -> Fact:
    values: dict[str, Any] = {"n": track.number, "about": describe_track(track)}
    if track.speech_s is None:
        return Fact(Head.OTHERS, Template.OTHER, values)
    return Fact(Head.OTHERS, Template.OTHER_SPEECH, values | {"speech": f"{track.speech_s:.1f}"})
