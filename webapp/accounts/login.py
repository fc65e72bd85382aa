"""Logging in and out: two pages that run no script."""

import re
import secrets
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engine.errors import EngineError
from webapp.accounts.answers import STATUS
from webapp.accounts.errors import BadLogin, LoginLocked
from webapp.accounts.guard import COOKIE
from webapp.accounts.store import SESSION, AccountStore

FORM_COOKIE = "wayspeak_login"
MAX_FORM = 10_000  # bytes
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center;
  min-height: 90vh; margin: 0; padding: 1rem; }
main { width: min(22rem, 100%); } label { display: block; margin: 1rem 0; }
input { display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; }
button { font: inherit; padding: .5rem 1.2rem; } [role=alert] { border-left: 4px solid #b3261e; padding-left: .7rem; }
"""


def make_router(accounts: AccountStore) -> APIRouter:
    """The routes; they stand before Gradio's own of the same names."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def show_login(request: Request, next: str = "/") -> Response:
        return _show_form(request, _clean_target(next))

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        form = await _read_form(request)
        target = _clean_target(form.get("next", "/"))
        try:
            _check_form(request, form)
            address = request.client.host if request.client else ""
            name, password = form.get("name", ""), form.get("password", "")
            token = await run_in_threadpool(accounts.log_in, name, password, address)
        except EngineError as error:
            return _show_form(request, target, error)
        response = RedirectResponse(target, 303)
        _set_cookie(response, request, COOKIE, token, int(SESSION.total_seconds()))
        response.delete_cookie(FORM_COOKIE)
        return response

    @router.get("/logout")
    def show_logout() -> Response:
        return _page("Log out", '<form method="post"><button>Log out</button></form>')

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        accounts.log_out(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    return router


def _show_form(request: Request, target: str, error: EngineError | None = None) -> Response:
    token = secrets.token_urlsafe(16)
    alert = f'<p role="alert">{escape(error.message)} {escape(error.hint)}</p>' if error else ""
    body = (
        f'{alert}<form method="post" action="/login"><input type="hidden" name="form" value="{token}">'
        f'<input type="hidden" name="next" value="{escape(target, quote=True)}">'
        '<label>Name <input name="name" autocomplete="username" required autofocus maxlength="64"></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
        "<button>Log in</button></form>"
    )
    response = _page("Log in", body, STATUS.get(error.code, 422) if error else 200)
    if isinstance(error, LoginLocked):
        response.headers["Retry-After"] = str(error.retry_s)
    _set_cookie(response, request, FORM_COOKIE, token, 3600)
    return response


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title} · Wayspeak</title><style>{STYLE}</style></head><body><main><h1>Wayspeak</h1>{body}</main>"
        "</body></html>"
    )
    return HTMLResponse(html, status, {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


def _set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure, path="/")


def _check_form(request: Request, form: dict[str, str]) -> None:
    """The form must be one that this browser was given: a login cannot be pushed upon it from elsewhere."""
    wanted = request.cookies.get(FORM_COOKIE, "")
    if not wanted or not secrets.compare_digest(wanted.encode(), form.get("form", "").encode()):
        raise BadLogin("The form is too old, or no cookie came with it.", "Allow cookies for this page, and try again.")


async def _read_form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return {}
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _clean_target(path: str) -> str:
    """A path of this server and nothing that a browser could take for another's."""
    return path if re.fullmatch(r"/(?![/\\])[\w./=%~-]*", path, re.ASCII) else "/"
