"""Authentication and security headers in front of every route, and errors as HTTP responses."""

import logging
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import EngineError
from engine.reports.json import error_to_json
from webapp.accounts.hosts import HostPolicy, is_same_origin
from webapp.accounts.records import LOCAL, LoginLocked, Role, User
from webapp.accounts.store import AccountStore
from webapp.errors import WebCode

__all__ = ["LOCAL", "SCOPE_KEY", "Role", "User", "find_user", "require_role"]

SCOPE_KEY = "wayspeak.user"
STATUS = {
    "BAD_ACCOUNT": 422,
    "BAD_CONSENT": 422,
    "BAD_LOGIN": 401,
    "BAD_REQUEST": 400,
    "DISK_FULL": 507,
    "EMBEDDER_MISMATCH": 409,
    "ENROLMENT_REFUSED": 422,
    "FETCH_TIMEOUT": 504,
    "FETCH_UNAVAILABLE": 503,
    "FILE_TOO_LARGE": 413,
    "FOLDER_UNWRITABLE": 507,
    "FOREIGN_REQUEST": 403,
    "GALLERY_BUSY": 503,
    "GALLERY_DAMAGED": 503,
    "GALLERY_NEWER": 503,
    "GALLERY_UNREACHABLE": 503,
    "APP_DATABASE_BUSY": 503,
    "APP_DATABASE_DAMAGED": 503,
    "APP_DATABASE_NEWER": 503,
    "INTERNAL_ERROR": 500,
    "JOB_NOT_DONE": 409,
    "LOGIN_LOCKED": 429,
    "METHOD_NOT_ALLOWED": 405,
    "NAME_TAKEN": 409,
    "NOT_ALLOWED": 403,
    "NOT_FOUND": 404,
    "NOT_LOGGED_IN": 401,
    "QUEUE_FULL": 429,
    "QUOTA_USED": 429,
    "REPORT_DAMAGED": 410,
    "SEARCH_WITHOUT_REASON": 422,
    "UNKNOWN_JOB": 404,
    "UNKNOWN_SPEAKER": 404,
    "UNKNOWN_CALIBRATION": 404,
    "WEIGHTS_DAMAGED": 503,
    "WEIGHTS_MISSING": 503,
}
OTHERWISE = 422  # the request is valid but cannot be fulfilled
COOKIE = "wayspeak_session"
API = "/api/v1"
OPEN_PATHS = frozenset({"/login", "/healthz"})
"""Paths that need no login; the login page contains its own style sheet."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""What Gradio's page needs, and nothing from other hosts; its scripts are inline and generated there."""
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no referrer at all, browsers hide the origin of our own forms too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def find_user(request: Any) -> User:
    """Return the user of a FastAPI or Gradio request; the local user without middleware, as on the command line."""
    inner = getattr(request, "__dict__", {}).get("request", request)  # Gradio's own wrapper would copy the whole scope
    scope = getattr(inner, "scope", None)
    found = scope.get(SCOPE_KEY) if isinstance(scope, dict) else None
    if isinstance(found, User):
        return found
    name = getattr(request, "__dict__", {}).get("username")
    return LOCAL if name is None else User(str(name), Role.VIEWER)  # only the name is known: the lowest role


def require_role(request: Any, role: Role) -> User:
    """Return the user of a request; raise NOT_ALLOWED if their role is too low."""
    user = find_user(request)
    if not user.may(role):
        raise WebCode.NOT_ALLOWED(
            f"This needs the role {role}, and {user.name} has {user.role}.",
            "Ask an administrator: wayspeak users role.",
        )
    return user


_log = logging.getLogger(__name__)


class JsonError(JSONResponse):
    """An EngineError as JSON response."""

    def __init__(self, error: EngineError, **kwargs: Any):
        headers = {"Cache-Control": "no-store"}
        if isinstance(error, LoginLocked):
            headers["Retry-After"] = str(error.retry_s)
        if error.code == "NOT_LOGGED_IN":
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(error_to_json(error), STATUS.get(error.code, OTHERWISE), headers | kwargs.pop("headers", {}))


def answer_error(request: Request, error: Exception) -> JsonError:
    """Return an EngineError with its text, and any other exception without details, which are in the log."""
    if isinstance(error, EngineError):
        return JsonError(error)
    _log.error("a request failed", exc_info=error)
    return JsonError(
        WebCode.INTERNAL_ERROR("Something went wrong inside Wayspeak.", "Try again; the terminal shows the cause.")
    )


class AuthMiddleware:
    """Middleware of the whole app; `accounts` is None without accounts, and every request is the local user's."""

    def __init__(self, app: ASGIApp, policy: HostPolicy, accounts: AccountStore | None):
        if policy.has_accounts and accounts is None:
            raise ValueError("accounts are on without an account store")
        self._app, self._doors, self._accounts = app, policy, accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page needs no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _add_headers(send)
        try:
            _refuse_foreign(HTTPConnection(scope), self._doors)
            user = await self._find_user(HTTPConnection(scope))
        except EngineError as error:
            await JsonError(error)(scope, receive, guarded)
            return
        if user is None and scope["path"] not in OPEN_PATHS:
            await _send_to_login(scope)(scope, receive, guarded)
            return
        await self._answer({**scope, SCOPE_KEY: user}, receive, guarded)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app; an unexpected exception becomes INTERNAL_ERROR unless the response has started."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # any exception: the server goes on, and the details stay in the log
            if has_begun:
                raise
            await answer_error(Request(scope), error)(scope, receive, send)

    async def _find_user(self, request: HTTPConnection) -> User | None:
        if not self._doors.has_accounts or self._accounts is None:
            return LOCAL
        key = _read_key(request)
        if key is not None:
            found = await run_in_threadpool(self._accounts.find_key_owner, key)
            if found is None:
                raise WebCode.NOT_LOGGED_IN(
                    "The API key is not valid.", "Ask an administrator: wayspeak users key add NAME."
                )
            return found
        token = request.cookies.get(COOKIE)
        return await run_in_threadpool(self._accounts.find_user, token) if token else None


def _read_key(request: HTTPConnection) -> str | None:
    """Return the API key of a request; keys are valid for the API only."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" and _is_api(request.scope) else None


def _refuse_foreign(request: HTTPConnection, policy: HostPolicy) -> None:
    """Raise FOREIGN_REQUEST for a foreign host name (DNS rebinding) and for a request of another site's page (CSRF)."""
    host = request.headers.get("host", "")
    if not policy.knows(host):
        raise WebCode.FOREIGN_REQUEST(
            "The host name of the request is not allowed.",
            "Use 127.0.0.1 or localhost, or add the name to WAYSPEAK_HOSTS.",
        )
    if request.scope["method"] in SAFE:
        return
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and not is_same_origin(origin, host):
        raise WebCode.FOREIGN_REQUEST("The request comes from another site.", "Use the page of Wayspeak itself.")
    if origin is None and site not in (None, "same-origin", "none"):
        raise WebCode.FOREIGN_REQUEST("The request comes from another site.", "Use the page of Wayspeak itself.")


def _send_to_login(scope: Scope) -> JsonError | RedirectResponse:
    """Redirect a page to the login, and answer a program with an error."""
    accepts = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
    if scope["method"] == "GET" and "text/html" in accepts and not _is_api(scope):
        return RedirectResponse(f"/login?next={quote(scope['path'], safe='/')}", 303)
    return JsonError(WebCode.NOT_LOGGED_IN("No user is logged in, or the session has ended.", "Log in, or send a key."))


def _is_api(scope: MutableMapping[str, Any]) -> bool:
    return scope["path"] == API or scope["path"].startswith(f"{API}/")


def _add_headers(send: Send) -> Send:
    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return forward
