"""Choose among the formats that a site offers by the language of the audio, and report the choice.

A site may offer a dub and the original. The choice runs in the yt-dlp child, on untrusted metadata; the parent reads
the report with `read_offered`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_OFFERED = 20  # audio formats reported
MAX_CHARS = 80  # of each text of a format
AUDIO_FIELDS = {"language": "language", "format_id": "format_id", "codec": "acodec", "note": "format_note"}
UNKNOWN_PREFERENCE = -1.0  # as yt-dlp assumes

Format = dict[str, Any]  # of yt-dlp
Select = Callable[[dict[str, Any]], Iterable[Any]]  # format selector of yt-dlp


@dataclass(frozen=True, slots=True)
class OfferedAudio:
    """One audio format that a site offers, as it states; texts are printable and not escaped."""

    language: str  # such as "en-US"; empty where the site states none
    format_id: str
    codec: str
    note: str  # name of the track, such as "English original"
    preference: float  # of yt-dlp: 10 for the original language, -1 where unknown, less for dubs and descriptions

    def __str__(self) -> str:
        named = (self.language or "no language", self.codec, self.note)
        return f"{', '.join(one for one in named if one)} ({self.format_id})"


def prefer_language(select: Select) -> Select:
    """Restrict a format selector to audio in the language that the site prefers, usually the original.

    The sort order alone does not suffice: a dubbed file with video would be taken before separate original audio. Where
    that language has no video at all, every format may be taken.
    """

    def choose(context: dict[str, Any]) -> list[Any]:
        formats = context["formats"]
        best = max((_rank(one) for one in formats if _has_audio(one)), default=UNKNOWN_PREFERENCE)
        kept = [one for one in formats if not _has_audio(one) or _rank(one) == best]
        has_video = any(one.get("vcodec") != "none" for one in kept)
        return list(select(context | {"formats": kept} if has_video else context))

    return choose


def describe_formats(info: Format, chosen: Sequence[Format]) -> dict[str, Any]:
    """Return id and audio language of the chosen formats, and the best offered audio of each language and codec."""
    audio = next((one for one in reversed(chosen) if _has_audio(one)), Format())
    offered: dict[tuple[str, str], dict[str, Any]] = {}
    for one in reversed(info.get("formats") or ()):  # sorted by yt-dlp, the best last
        if isinstance(one, dict) and _has_audio(one):
            texts = {field: _read(one, name) for field, name in AUDIO_FIELDS.items()}
            offered.setdefault((texts["language"], texts["codec"]), texts | {"preference": _rank(one)})
    return {
        "format_id": "+".join(_read(one, "format_id") for one in chosen),
        "language": _read(audio, "language"),
        "track_language": _to_track_language(_read(audio, "language")),
        "offered": list(offered.values())[:MAX_OFFERED],
    }


def read_offered(value: object) -> tuple[OfferedAudio, ...]:
    """Read the offered audio of a message of the child, which is untrusted."""
    entries = [entry for entry in value[:MAX_OFFERED] if isinstance(entry, dict)] if isinstance(value, list) else []
    return tuple(
        OfferedAudio(
            language=_read_line(entry, "language"),
            format_id=_read_line(entry, "format_id"),
            codec=_read_line(entry, "codec"),
            note=_read_line(entry, "note"),
            preference=_read_preference(entry.get("preference")),
        )
        for entry in entries
    )


def read_track_language(value: object) -> str:
    """Read an ISO 639-2 code of a message of the child; empty for anything else."""
    return value if isinstance(value, str) and re.fullmatch("[a-z]{3}", value) else ""


def _to_track_language(language: str) -> str:
    """Return the ISO 639-2 code of a tag such as "en-US", as media files have it; empty where unknown."""
    from yt_dlp.utils import ISO639Utils  # after the confinement

    code = re.split(r"[-_]", language)[0].lower()
    return (ISO639Utils.short2long(code) or "") if len(code) == 2 else code


def _has_audio(one: Format) -> bool:
    return one.get("acodec") != "none"  # None: unknown


def _rank(one: Format) -> float:
    return _read_preference(one.get("language_preference"))


def _read_preference(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e6 else UNKNOWN_PREFERENCE


def _read(one: Format, name: str) -> str:
    return str(one.get(name) or "")[:MAX_CHARS]


def _read_line(entry: dict[Any, Any], name: str) -> str:
    return "".join(letter for letter in str(entry.get(name, "")) if letter.isprintable())[:MAX_CHARS]
