"""Allow-list of Gradio's routes, and ownership of the files, page sessions and runs that a request names.

Gradio itself serves any file of its cache, and any run, to every client that knows its name.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import EngineError
from webapp.accounts.middleware import SCOPE_KEY, JsonError
from webapp.accounts.records import LOCAL
from webapp.errors import WebCode

MAX_KEPT = 20_000  # entries of each kind; the oldest are dropped first
PATH_IN_STREAM = re.compile(rb'"path":\s*("(?:[^"\\]|\\.)*")')
MAX_BODY = 8 * 1024 * 1024  # bytes of a request without upload


class Kind(StrEnum):
    """Kinds of resource that a user can own."""

    FILE = "file"  # in Gradio's cache, by its path
    SESSION = "session"  # an open page, by its session hash
    RUN = "run"  # a started event, by its event id


class GradioOwnership:
    """Owners of files, page sessions and runs; an example file has one path and therefore several owners."""

    def __init__(self, shared: Iterable[str] = ()):
        """`shared` files belong to every user: those that the page itself shows."""
        self._owners: dict[Kind, OrderedDict[str, frozenset[str]]] = {kind: OrderedDict() for kind in Kind}
        self._shared = frozenset(shared)
        self._lock = threading.Lock()

    def add(self, kind: Kind, resource: str, name: str) -> None:
        """Add a user to the owners of a resource."""
        with self._lock:
            kept = self._owners[kind]
            kept[resource] = kept.pop(resource, frozenset()) | {name}
            while len(kept) > MAX_KEPT:
                kept.popitem(last=False)

    def owns(self, kind: Kind, resource: str, name: str) -> bool:
        """Return whether the user owns the resource; a resource without owner belongs to no user."""
        if kind is Kind.FILE and resource in self._shared:
            return True
        with self._lock:
            return name in self._owners[kind].get(resource, frozenset())

    def claim(self, kind: Kind, resource: str, name: str) -> bool:
        """Return whether the user owns the resource; a resource without owner becomes the user's."""
        with self._lock:
            owners = self._owners[kind].get(resource)
        if owners is None:
            self.add(kind, resource, name)
            return True
        return name in owners


def list_paths(value: Any) -> Iterator[str]:
    """Yield every file that a request or a response names, as Gradio does: under the key `path`."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        for item in value.values():
            yield from list_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from list_paths(item)


def scan_stream(chunk: bytes) -> Iterator[str]:
    """Yield every file that a chunk of an event stream names; a chunk holds whole events."""
    for match in PATH_IN_STREAM.finditer(chunk):
        yield str(json.loads(match[1]))


def is_web_address(path: str) -> bool:
    """Return whether a `file` is a URL, which Gradio would fetch itself."""
    return re.match(r"\s*[a-z][a-z0-9+.-]*:", path, re.IGNORECASE) is not None


def name_file(path: str) -> str:
    """Return the path under which a file is recorded, with links and dots resolved."""
    return str(Path(path).resolve())


class Rule(Enum):
    """Checks of a request; under every rule a page session in the URL must be the user's."""

    PUBLIC = auto()  # the page itself: one answer for every user
    SESSION = auto()  # belongs to one page session, and nothing in the answer needs recording
    FILE = auto()  # the file that the path names must be the user's
    UPLOAD = auto()  # the files sent become the user's
    START = auto()  # files and page session in the body must be the user's; resource the answer names becomes theirs
    STOP = auto()  # as START, and the run that the body names must be the user's too
    EVENTS = auto()  # the files that the event stream names become the user's


ALLOWED: dict[tuple[str, str], Rule] = {
    ("GET", "/"): Rule.PUBLIC,
    ("HEAD", "/"): Rule.PUBLIC,
    ("GET", "/config"): Rule.PUBLIC,
    ("GET", "/assets/{path:path}"): Rule.PUBLIC,
    ("GET", "/static/{path:path}"): Rule.PUBLIC,
    ("GET", "/theme.css"): Rule.PUBLIC,
    ("GET", "/favicon.ico"): Rule.PUBLIC,
    ("GET", "/manifest.json"): Rule.PUBLIC,
    ("GET", "/gradio_api/app_id"): Rule.PUBLIC,  # read by a page that has lost its connection
    ("GET", "/gradio_api/info"): Rule.PUBLIC,  # read by the Python client of Gradio
    ("GET", "/gradio_api/heartbeat/{session_hash}"): Rule.SESSION,
    ("GET", "/gradio_api/upload_progress"): Rule.SESSION,
    ("GET", "/gradio_api/file={path_or_url:path}"): Rule.FILE,
    ("HEAD", "/gradio_api/file={path_or_url:path}"): Rule.FILE,
    ("POST", "/gradio_api/upload"): Rule.UPLOAD,
    ("POST", "/gradio_api/queue/join"): Rule.START,
    ("POST", "/gradio_api/run/{api_name}"): Rule.START,  # events with `queue=False`; Gradio refuses the others
    ("POST", "/gradio_api/cancel"): Rule.STOP,
    ("POST", "/gradio_api/reset"): Rule.STOP,
    ("GET", "/gradio_api/queue/data"): Rule.EVENTS,
}
"""Method and path, as Gradio declares it, of every route that the page needs; Gradio's other routes are closed."""
_PATTERNS = [(method, compile_path(path)[0], rule) for (method, path), rule in ALLOWED.items()]


class GradioMiddleware:
    """Middleware of the Gradio app; without accounts there is one user, and only the allow-list applies."""

    def __init__(self, app: ASGIApp, ownership: GradioOwnership):
        self._app, self._ownership = app, ownership

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._pass(scope, receive, send)
        except EngineError as error:
            await JsonError(error)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule, parameters = find_rule(scope["method"], scope["path"])
        name = scope.get(SCOPE_KEY, LOCAL).name
        self._check_sessions(scope, parameters, name)
        if rule is Rule.FILE:
            self._expect_file(parameters["path_or_url"], name)
        if rule is Rule.UPLOAD:
            await self._app(_plain(scope), receive, self._note_answer(send, name))
        elif rule in (Rule.START, Rule.STOP):
            body = await _read_body(receive)
            self._check_body(rule, body, name)
            await self._app(_plain(scope), _replay(body, receive), self._note_answer(send, name))
        elif rule is Rule.EVENTS:
            await self._app(_plain(scope), receive, self._note_stream(send, name))
        else:
            await self._app(scope, receive, send)

    def _check_sessions(self, scope: Scope, parameters: dict[str, str], name: str) -> None:
        """Refuse a page session of another user, in the path or in the query."""
        sessions = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
        if "session_hash" in parameters:
            sessions.append(parameters["session_hash"])
        for session in sessions:
            self._expect(Kind.SESSION, session, name)

    def _check_body(self, rule: Rule, body: bytes, name: str) -> None:
        """Refuse a body that names a page session, run or file of another user."""
        if not body:
            return
        try:
            value = json.loads(body)
        except (ValueError, RecursionError) as cause:
            raise WebCode.BAD_REQUEST("The request body is not JSON.", "Send JSON.") from cause
        if not isinstance(value, dict):
            raise WebCode.BAD_REQUEST("The request body is not a JSON object.", "Send an object.")
        for session in _strings(value.get("session_hash")):
            self._expect(Kind.SESSION, session, name)
        if rule is Rule.STOP:
            for run in _strings(value.get("event_id")):
                self._expect(Kind.RUN, run, name)
        for path in list_paths(value):
            self._expect_file(path, name)

    def _expect(self, kind: Kind, resource: str, name: str) -> None:
        if not self._ownership.claim(kind, resource, name):
            raise _missing()

    def _expect_file(self, path: str, name: str) -> None:
        if is_web_address(path):
            raise WebCode.BAD_REQUEST("A file was given as a URL.", "Use the field for links, or upload the file.")
        if name != LOCAL.name and not self._ownership.owns(Kind.FILE, name_file(path), name):
            raise _missing()

    def _note_answer(self, send: Send, name: str) -> Send:
        """Record resource a response names as the user's before the response is sent."""
        parts: list[bytes] = []

        async def forward(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    self._note(b"".join(parts), name)
            await send(message)

        return forward

    def _note_stream(self, send: Send, name: str) -> Send:
        async def forward(message: Message) -> None:
            if message["type"] == "http.response.body":
                for path in scan_stream(message.get("body", b"")):
                    self._ownership.add(Kind.FILE, name_file(path), name)
            await send(message)

        return forward

    def _note(self, answer: bytes, name: str) -> None:
        try:
            value = json.loads(answer)
        except ValueError:
            return
        paths = value if isinstance(value, list) else list(list_paths(value))
        for path in paths:
            if isinstance(path, str):
                self._ownership.add(Kind.FILE, name_file(path), name)
        if isinstance(value, dict):
            for run in _strings(value.get("event_id")):
                self._ownership.add(Kind.RUN, run, name)


def find_rule(method: str, path: str) -> tuple[Rule, dict[str, str]]:
    """Return the rule of an allowed route and its path parameters; raise NOT_FOUND for any other route."""
    for allowed_method, pattern, rule in _PATTERNS:
        match = pattern.fullmatch(path)
        if match and method == allowed_method:
            return rule, match.groupdict()
    raise _missing()


def _missing() -> EngineError:
    return WebCode.NOT_FOUND("There is nothing here.", "Reload the page.")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _plain(scope: Scope) -> Scope:
    """Request an uncompressed response, so that it can be read in transit."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    return {**scope, "headers": headers}


async def _read_body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the client disconnected
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise WebCode.BAD_REQUEST(f"More than {MAX_BODY} bytes were sent.", "Upload files as files.")
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def again() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
