"""The items of a batch: files, folders, lists of files and links."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.manifest import read_cell
from webapp.errors import WebCode

MAX_LINKS = 50
SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .mts .3gp .ogv .wmv .flv".split())
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


def read_sources(given: Sequence[str]) -> list[Source]:
    """Expand links, files, folders (videos, recursively), CSVs (column path or url) and text files of links.

    A text file has one link per line; # begins a comment. Raise BAD_BATCH if nothing is found, a list cannot be read,
    or there are more than 50 links.
    """
    found = [one for text in given for one in _expand(text)]
    if not found:
        raise WebCode.BAD_BATCH(
            "No video and no link was found.", "Name files, a folder with videos, or a list of links."
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


def _expand(text: str) -> Iterator[tuple[str, Path]]:
    """Yield (text to show, path) for each item of one argument."""
    path = Path(text)
    if _is_link(text):
        yield text, path
    elif path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
        yield from ((one.as_posix(), one) for one in files)
    elif path.suffix.lower() == ".csv":
        yield from _read_table(path)
    elif path.suffix.lower() == ".txt":
        lines = (line.strip() for line in _read_text(path).splitlines())
        yield from _read_items(path, (line for line in lines if line and not line.startswith("#")))
    else:
        yield text, path


def _read_table(path: Path) -> Iterator[tuple[str, Path]]:
    try:
        rows = list(csv.DictReader(_read_text(path).splitlines()))
    except csv.Error as cause:
        raise WebCode.BAD_BATCH(f"{path} is not a CSV: {cause}.", "Export it again.") from cause
    columns = {str(name).strip().lower(): name for row in rows[:1] for name in row if name is not None}
    wanted = [columns[name] for name in ("path", "url") if name in columns]
    if not wanted:
        raise WebCode.BAD_BATCH(f"{path} has no column path or url with rows.", "Rename one of its columns.")
    cells = (
        next((cell for cell in (read_cell((row[name] or "").strip()) for name in wanted) if cell), "") for row in rows
    )
    yield from _read_items(path, (cell for cell in cells if cell))


def _read_items(path: Path, items: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Resolve listed files relative to the folder of the list."""
    for item in items:
        yield item, path.parent / item


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise WebCode.BAD_BATCH(
            f"{path} cannot be read as text in UTF-8: {cause}.", "Check its name, or export it again."
        ) from cause
