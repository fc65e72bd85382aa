"""The videos of a link with several, one of which has to be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import Code, EngineError

MAX_LISTED = 20  # a post of Instagram has as many
MAX_CHARS = 100  # of a title


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One of several videos at a URL, as the site states; the title is printable and not escaped."""

    number: int  # from 1, the `item` of a fetch
    title: str
    duration_s: float | None  # None where the site does not state it

    @property
    def name(self) -> str:
        """Title and length."""
        if self.duration_s is None:
            return self.title
        minutes, seconds = divmod(round(self.duration_s), 60)
        return f"{self.title} ({minutes}:{seconds:02d})"


class SeveralVideos(EngineError):
    """A URL leads to several videos, and none was chosen."""

    code = Code.PLAYLIST_GIVEN

    def __init__(self, message: str, hint: str, items: Sequence[MediaItem]):
        super().__init__(message, hint, Code.PLAYLIST_GIVEN)
        self.items = tuple(items)


def describe_items(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return title and length of the entries of a playlist of yt-dlp."""
    return [
        {
            "title": str(entry.get("title") or entry.get("id") or "without a name")[:MAX_CHARS],
            "duration_s": entry.get("duration"),
        }
        for entry in entries[:MAX_LISTED]
    ]


def read_items(value: object) -> tuple[MediaItem, ...]:
    """Read the items of a message of the child, which is untrusted."""
    entries = [entry for entry in value[:MAX_LISTED] if isinstance(entry, dict)] if isinstance(value, list) else []
    return tuple(
        MediaItem(number, _read_title(entry.get("title")), _read_duration(entry.get("duration_s")))
        for number, entry in enumerate(entries, start=1)
    )


def _read_title(value: object) -> str:
    return "".join(letter for letter in str(value) if letter.isprintable())[:MAX_CHARS]


def _read_duration(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else None
