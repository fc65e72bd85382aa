"""The items of a batch: files, folders, lists of files and links."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.datasets.manifest import Skipped, read_cell
from engine.datasets.tables import read_table, read_text
from engine.errors import EngineError
from engine.media.containers import identify_container
from engine.media.selection import check_selection, parse_channel, parse_time
from engine.types import WHOLE, MediaSelection
from webapp.errors import WebCode

MAX_LINKS = 50
TABLES, LINES = (".csv", ".tsv"), (".txt",)  # endings of lists: unlike a video, a text has no first bytes of its own
SCHEMES = ("http://", "https://")

PARTS = {"from": "from_s", "to": "to_s", "audio_track": "audio_track", "channel": "channel"}
"""Columns of a list that choose part and audio, and the fields of `MediaSelection`."""
READERS: dict[str, Callable[[str], Any]] = {
    "from_s": parse_time,
    "to_s": parse_time,
    "audio_track": int,
    "channel": parse_channel,
}
Item = tuple[str, Path, MediaSelection]
"""Text to show, path, and what of the recording to analyse."""


@dataclass(frozen=True, slots=True)
class Source:
    """One item: a file or a link."""

    number: int  # from 1, in the order given
    written: str  # as given
    path: Path | None = None
    url: str | None = None
    selection: MediaSelection = WHOLE

    @property
    def name(self) -> str:
        """File name or link, until a title is known."""
        return self.path.name if self.path is not None else self.written


def ignore(skipped: Skipped) -> None:
    """Do nothing; the default of `on_skip`."""


def read_sources(
    given: Sequence[str], on_skip: Callable[[Skipped], None] = ignore, selection: MediaSelection = WHOLE
) -> list[Source]:
    """Expand links, files, folders (videos, recursively), CSVs (column path or url) and text files of links.

    The bytes of a file decide whether it is a video; `on_skip` is called for each other file of a folder. A text file
    has one link per line; # begins a comment. A CSV may choose part and audio of each item by the columns from, to,
    audio_track and channel; `selection` holds the values for all others. Raise BAD_BATCH if nothing is found, a list
    cannot be read, or there are more than 50 links.
    """
    skipped: list[Skipped] = []
    found = [one for text in given for one in _expand(text, skipped, selection)]
    for one in skipped:
        on_skip(one)
    if not found:
        no_video = f" {len(skipped)} files are no videos, such as {skipped[0].path}." if skipped else ""
        raise WebCode.BAD_BATCH(
            f"No video and no link was found.{no_video}", "Name files, a folder with videos, or a list of links."
        )
    sources = [
        Source(number, text, None if _is_link(text) else path, text if _is_link(text) else None, own)
        for number, (text, path, own) in enumerate(found, start=1)
    ]
    n_links = sum(one.url is not None for one in sources)
    if n_links > MAX_LINKS:
        raise WebCode.BAD_BATCH(f"The batch has {n_links} links, at most {MAX_LINKS} are allowed.", "Split the list.")
    return sources


def _is_link(text: str) -> bool:
    return text.lower().startswith(SCHEMES)


def _expand(text: str, skipped: list[Skipped], selection: MediaSelection) -> Iterator[Item]:
    """Yield each item of one argument; add files of a folder that are no videos to `skipped`.

    A list is one by its ending, unless its bytes are a video.
    """
    path, ending = Path(text), Path(text).suffix.lower()
    if _is_link(text):
        yield text, path, selection
    elif path.is_dir():
        for one in sorted(place for place in path.rglob("*") if place.is_file()):
            reason = _find_obstacle(one)
            if reason:
                skipped.append(Skipped(one.as_posix(), reason))
            else:
                yield one.as_posix(), one, selection
    elif ending in (*TABLES, *LINES) and _find_obstacle(path):
        rows = _read_table(path, selection) if ending in TABLES else ((line, selection) for line in _read_lines(path))
        yield from ((item, path.parent / item, own) for item, own in rows)  # relative to the folder of the list
    else:
        yield text, path, selection


def _find_obstacle(path: Path) -> str:
    """Return why a file is not taken for a video, empty for a video."""
    try:
        identify_container(path)
    except EngineError as error:
        return error.message
    except OSError as error:
        return f"The file cannot be read: {error.strerror}."
    return ""


def _read_table(path: Path, selection: MediaSelection) -> Iterator[tuple[str, MediaSelection]]:
    """Yield the path of each row, or its url where it has no path, with the part and audio that it chooses."""
    table = read_table(path, ("path", "url", *PARTS), WebCode.BAD_BATCH)
    if not {"path", "url"} & {name.lower() for name in table.columns}:
        found = ", ".join(table.columns) or "none"
        raise WebCode.BAD_BATCH(
            f"{path} has no column path or url; the columns found are: {found}.", "Rename one of its columns."
        )
    for number, row in enumerate(table.rows, start=1):
        cell = read_cell(row.get("path", "")) or read_cell(row.get("url", ""))
        if cell:
            yield cell, _read_selection(row, selection, f"{path}: row {number}")


def _read_selection(row: Mapping[str, str], selection: MediaSelection, place: str) -> MediaSelection:
    """Return the selection with the cells of a row that are not empty; raise BAD_BATCH for nonsense."""
    cells = {field: read_cell(row.get(column, "")) for column, field in PARTS.items()}
    try:
        own = replace(selection, **{field: READERS[field](cell) for field, cell in cells.items() if cell})
        check_selection(own)
    except (ValueError, EngineError) as cause:
        text = cause.message if isinstance(cause, EngineError) else str(cause)
        raise WebCode.BAD_BATCH(f"{place}: {text}", "Correct the row, or leave the cell empty.") from cause
    return own


def _read_lines(path: Path) -> Iterator[str]:
    """Yield each line that is not empty or a comment."""
    lines = (line.strip() for line in read_text(path, WebCode.BAD_BATCH).splitlines())
    return (line for line in lines if line and not line.startswith("#"))
