"""The items of a batch: files, folders, lists of files and links."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.manifest import Skipped, read_cell
from engine.datasets.tables import read_table, read_text
from engine.errors import EngineError
from engine.media.containers import identify_container
from webapp.errors import WebCode

MAX_LINKS = 50
TABLES, LINES = (".csv", ".tsv"), (".txt",)  # endings of lists: unlike a video, a text has no first bytes of its own
SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Source:
    """One item: a file or a link."""

    number: int  # from 1, in the order given
    written: str  # as given
    path: Path | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """File name or link, until a title is known."""
        return self.path.name if self.path is not None else self.written


def ignore(skipped: Skipped) -> None:
    """Do nothing; the default of `on_skip`."""


def read_sources(given: Sequence[str], on_skip: Callable[[Skipped], None] = ignore) -> list[Source]:
    """Expand links, files, folders (videos, recursively), CSVs (column path or url) and text files of links.

    The bytes of a file decide whether it is a video; `on_skip` is called for each other file of a folder. A text file
    has one link per line; # begins a comment. Raise BAD_BATCH if nothing is found, a list cannot be read, or there are
    more than 50 links.
    """
    skipped: list[Skipped] = []
    found = [one for text in given for one in _expand(text, skipped)]
    for one in skipped:
        on_skip(one)
    if not found:
        no_video = f" {len(skipped)} files are no videos, such as {skipped[0].path}." if skipped else ""
        raise WebCode.BAD_BATCH(
            f"No video and no link was found.{no_video}", "Name files, a folder with videos, or a list of links."
        )
    sources = [
        Source(number, text, None if _is_link(text) else path, text if _is_link(text) else None)
        for number, (text, path) in enumerate(found, start=1)
    ]
    n_links = sum(one.url is not None for one in sources)
    if n_links > MAX_LINKS:
        raise WebCode.BAD_BATCH(f"The batch has {n_links} links, at most {MAX_LINKS} are allowed.", "Split the list.")
    return sources


def _is_link(text: str) -> bool:
    return text.lower().startswith(SCHEMES)


def _expand(text: str, skipped: list[Skipped]) -> Iterator[tuple[str, Path]]:
    """Yield (text to show, path) for each item of one argument; add files of a folder that are no videos to `skipped`.

    A list is one by its ending, unless its bytes are a video.
    """
    path, ending = Path(text), Path(text).suffix.lower()
    if _is_link(text):
        yield text, path
    elif path.is_dir():
        for one in sorted(place for place in path.rglob("*") if place.is_file()):
            reason = _find_obstacle(one)
            if reason:
                skipped.append(Skipped(one.as_posix(), reason))
            else:
                yield one.as_posix(), one
    elif ending in (*TABLES, *LINES) and _find_obstacle(path):
        yield from _read_items(path, _read_table(path) if ending in TABLES else _read_lines(path))
    else:
        yield text, path


def _find_obstacle(path: Path) -> str:
    """Return why a file is not taken for a video, empty for a video."""
    try:
        identify_container(path)
    except EngineError as error:
        return error.message
    except OSError as error:
        return f"The file cannot be read: {error.strerror}."
    return ""


def _read_table(path: Path) -> Iterator[str]:
    """Yield the path of each row, or its url where it has no path."""
    table = read_table(path, ("path", "url"), WebCode.BAD_BATCH)
    if not {"path", "url"} & {name.lower() for name in table.columns}:
        found = ", ".join(table.columns) or "none"
        raise WebCode.BAD_BATCH(
            f"{path} has no column path or url; the columns found are: {found}.", "Rename one of its columns."
        )
    for row in table.rows:
        cell = read_cell(row.get("path", "")) or read_cell(row.get("url", ""))
        if cell:
            yield cell


def _read_lines(path: Path) -> Iterator[str]:
    """Yield each line that is not empty or a comment."""
    lines = (line.strip() for line in read_text(path, WebCode.BAD_BATCH).splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _read_items(path: Path, items: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Resolve listed files relative to the folder of the list."""
    for item in items:
        yield item, path.parent / item
