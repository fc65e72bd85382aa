"""What of the page's own is whose: Gradio would give any file of its cache, and any run, to whoever names it."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

MAX_KEPT = 20_000  # of each kind; the oldest go first
PATH_IN_STREAM = re.compile(rb'"path":\s*("(?:[^"\\]|\\.)*")')


class Kind(StrEnum):
    """What can be somebody's."""

    FILE = "file"  # in Gradio's cache, by its path
    VISIT = "visit"  # an open page, by its session hash
    RUN = "run"  # something that was started, by its event id


class Belongings:
    """Who has what. A file may be several people's: the same example has the same place for all."""

    def __init__(self, shared: Iterable[str] = ()):
        """`shared` files are everybody's: what the page itself shows."""
        self._owners: dict[Kind, OrderedDict[str, frozenset[str]]] = {kind: OrderedDict() for kind in Kind}
        self._shared = frozenset(shared)
        self._lock = threading.Lock()

    def give(self, kind: Kind, what: str, name: str) -> None:
        """Note that something is somebody's, too."""
        with self._lock:
            kept = self._owners[kind]
            kept[what] = kept.pop(what, frozenset()) | {name}
            while len(kept) > MAX_KEPT:
                kept.popitem(last=False)

    def has(self, kind: Kind, what: str, name: str) -> bool:
        """Tell whether something is somebody's; what is nobody's is not."""
        if kind is Kind.FILE and what in self._shared:
            return True
        with self._lock:
            return name in self._owners[kind].get(what, frozenset())

    def take(self, kind: Kind, what: str, name: str) -> bool:
        """Tell whether something is theirs; what is nobody's yet becomes theirs."""
        with self._lock:
            owners = self._owners[kind].get(what)
        if owners is None:
            self.give(kind, what, name)
            return True
        return name in owners


def list_paths(told: Any) -> Iterator[str]:
    """Give every file that a request or an answer names, as Gradio writes files: under the key `path`."""
    if isinstance(told, dict):
        if isinstance(told.get("path"), str):
            yield told["path"]
        for value in told.values():
            yield from list_paths(value)
    elif isinstance(told, list):
        for value in told:
            yield from list_paths(value)


def scan_stream(chunk: bytes) -> Iterator[str]:
    """Give every file that a piece of an event stream names; a piece holds whole events."""
    for match in PATH_IN_STREAM.finditer(chunk):
        yield str(json.loads(match[1]))


def is_web_address(path: str) -> bool:
    """Tell whether a `file` is one on the web, which Gradio would fetch by itself."""
    return re.match(r"\s*[a-z][a-z0-9+.-]*:", path, re.IGNORECASE) is not None


def name_file(path: str) -> str:
    """Give a path the one spelling under which it is noted: links and dots are resolved."""
    return str(Path(path).resolve())
