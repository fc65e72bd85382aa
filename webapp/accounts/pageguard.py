"""In front of Gradio's routes: what is not needed is shut, and what is one visitor's is not another's."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import EngineError
from webapp.accounts.answers import JsonError
from webapp.accounts.belongings import Belongings, Kind, is_web_address, list_paths, name_file, scan_stream
from webapp.accounts.records import LOCAL
from webapp.accounts.visitors import SCOPE_KEY

PREFIX = "/gradio_api/"
MAX_BODY = 8 * 1024 * 1024  # of what is not an upload
SHUT = (
    *("proxy=", "vibe-", "undo-vibe-", "deep_link", "runs", "run-history"),
    *("dev/", "token", "profiling", "process_recording"),
)
"""Routes that this page has no use for: fetching for others, writing code, histories, traces."""
STARTING = ("queue/join", "run/", "api/", "call/", "component_server")  # a POST there starts something
STREAMS = ("queue/data", "call/")  # a GET there is answered by events


class Missing(EngineError):
    """There is nothing, or nothing that is theirs: which of the two is not told."""

    code = "NOT_FOUND"


class BadBody(EngineError):
    """What was sent is no JSON, too long, or names a file that cannot be taken."""

    code = "BAD_REQUEST"


class PageGuard:
    """Wraps the app; without accounts there is one visitor, and only what nobody needs is shut."""

    def __init__(self, app: ASGIApp, belongings: Belongings):
        self._app, self._belongings = app, belongings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith((PREFIX, "/monitoring")):
            await self._app(scope, receive, send)
            return
        try:
            await self._pass(scope, receive, send)
        except EngineError as error:
            await JsonError(error)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope["path"].removeprefix(PREFIX)
        if route.startswith(SHUT) or scope["path"].startswith("/monitoring"):
            raise _missing()
        name = scope.get(SCOPE_KEY, LOCAL).name
        self._check_address(route, scope, name)
        if scope["method"] == "POST" and route.startswith("upload"):
            await self._app(_plain(scope), receive, self._note_answer(send, name))
        elif scope["method"] == "POST":
            body = await _read_body(receive)
            self._check_body(route, body, name)
            await self._app(_plain(scope), _replay(body, receive), self._note_answer(send, name))
        elif route.startswith(STREAMS):
            await self._app(_plain(scope), receive, self._note_stream(send, name))
        else:
            await self._app(scope, receive, send)

    def _check_address(self, route: str, scope: Scope, name: str) -> None:
        """What the address names must be theirs."""
        for prefix in ("file=", "file/"):
            if route.startswith(prefix):
                self._expect_file(route.removeprefix(prefix), name)
        parts = route.split("/")
        if parts[0] in ("heartbeat", "stream") and len(parts) > 1:
            self._expect(Kind.VISIT if parts[0] == "heartbeat" or len(parts) > 3 else Kind.RUN, parts[1], name)
        if scope["method"] == "GET" and parts[0] == "call":
            self._expect(Kind.RUN, parts[-1], name)
        for visit in parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", []):
            self._expect(Kind.VISIT, visit, name)

    def _check_body(self, route: str, body: bytes, name: str) -> None:
        """What the body names must be theirs."""
        if not body:
            return
        try:
            told = json.loads(body)
        except (ValueError, RecursionError) as cause:
            raise BadBody("What was sent is no JSON.", "Send JSON.") from cause
        if not isinstance(told, dict):
            raise BadBody("What was sent is no JSON object.", "Send an object.")
        for visit in _strings(told.get("session_hash")):
            self._expect(Kind.VISIT, visit, name)
        for run in _strings(told.get("event_id")):
            if not route.startswith(STARTING):
                self._expect(Kind.RUN, run, name)
        for path in list_paths(told):
            self._expect_file(path, name)

    def _expect(self, kind: Kind, what: str, name: str) -> None:
        if not self._belongings.take(kind, what, name):
            raise _missing()

    def _expect_file(self, path: str, name: str) -> None:
        if is_web_address(path):
            raise BadBody("A file was named by an address on the web.", "Use the field for links, or upload the file.")
        if name != LOCAL.name and not self._belongings.has(Kind.FILE, name_file(path), name):
            raise _missing()

    def _note_answer(self, send: Send, name: str) -> Send:
        """What an answer names becomes theirs, before they learn of it."""
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
                    self._belongings.give(Kind.FILE, name_file(path), name)
            await send(message)

        return forward

    def _note(self, answer: bytes, name: str) -> None:
        try:
            told = json.loads(answer)
        except ValueError:
            return
        paths = told if isinstance(told, list) else list(list_paths(told))
        for path in paths:
            if isinstance(path, str):
                self._belongings.give(Kind.FILE, name_file(path), name)
        if isinstance(told, dict):
            for run in _strings(told.get("event_id")):
                self._belongings.give(Kind.RUN, run, name)


def _missing() -> Missing:
    return Missing("There is nothing here.", "Reload the page.")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _plain(scope: Scope) -> Scope:
    """Ask for an answer that is not compressed, so that it can be read on its way."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    return {**scope, "headers": headers}


async def _read_body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # they left
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise BadBody(f"More than {MAX_BODY} bytes were sent.", "Upload files as files.")
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
