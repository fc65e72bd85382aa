"""Login and logout: two pages without scripts."""

import re
import secrets
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engine.errors import EngineError
from webapp.accounts.middleware import COOKIE, STATUS
from webapp.accounts.records import LoginLocked
from webapp.accounts.store import SESSION, AccountStore
from webapp.errors import WebCode
from webapp.templates import render

FORM_COOKIE = "wayspeak_login"
MAX_FORM = 10_000  # bytes
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def make_router(accounts: AccountStore) -> APIRouter:
    """Return the router; it comes before Gradio's routes of the same names."""
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
        return _page("logout.html")

    @router.post("/logout")
    def log_out(request: Request) -> Response:
        accounts.log_out(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    return router


def _show_form(request: Request, target: str, error: EngineError | None = None) -> Response:
    token = secrets.token_urlsafe(16)
    status = STATUS.get(error.code, 422) if error else 200
    response = _page("login.html", status, token=token, target=target, error=error)
    if isinstance(error, LoginLocked):
        response.headers["Retry-After"] = str(error.retry_s)
    _set_cookie(response, request, FORM_COOKIE, token, 3600)
    return response


def _page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(render(template, **values), status, headers)


def _set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="strict", secure=secure, path="/")


def _check_form(request: Request, form: dict[str, str]) -> None:
    """Refuse a form that this browser was not served, so that no other site can force a login."""
    wanted = request.cookies.get(FORM_COOKIE, "")
    if not wanted or not secrets.compare_digest(wanted.encode(), form.get("form", "").encode()):
        raise WebCode.BAD_LOGIN(
            "The form is too old, or no cookie came with it.", "Allow cookies for this page, and try again."
        )


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
    """Return a path of this server that no browser can read as an address of another."""
    return path if re.fullmatch(r"/(?![/\\])[\w./=%~-]*", path, re.ASCII) else "/"
