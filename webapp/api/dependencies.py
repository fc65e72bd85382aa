"""Dependencies of all routes: the user and their role, and error responses in one form."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from engine.errors import EngineError
from webapp.accounts.middleware import JsonError, answer_error, require_role
from webapp.accounts.records import Role, User
from webapp.api.schemas import ErrorView
from webapp.errors import WebCode

KEY = HTTPBearer(auto_error=False, description="A key of `wayspeak users key add`; none is needed without accounts.")
"""For the schema only: the middleware in front of all routes has read the key already."""


def _require(role: Role) -> Callable[[Request], User]:
    def enter(request: Request) -> User:
        return require_role(request, role)

    return enter


def _needs(role: Role) -> Any:
    return Depends(_require(role))


AnyUser = Annotated[User, _needs(Role.VIEWER)]
Analyst = Annotated[User, _needs(Role.ANALYST)]
Enroller = Annotated[User, _needs(Role.ENROLLER)]


ERRORS: dict[int | str, dict[str, object]] = {
    "4XX": {"model": ErrorView, "description": "What was wrong, and what to do."},
    "5XX": {"model": ErrorView, "description": "What failed here."},
}


HTTP_CODES = {404: WebCode.NOT_FOUND, 405: WebCode.METHOD_NOT_ALLOWED}


def install(app: FastAPI) -> None:
    """Register the error handlers."""
    app.add_exception_handler(EngineError, answer_error)
    app.add_exception_handler(Exception, answer_error)

    @app.exception_handler(RequestValidationError)
    def answer_invalid(request: Request, error: RequestValidationError) -> JsonError:
        places = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
        return JsonError(WebCode.INVALID("; ".join(places)[:600], "See /api/v1/openapi.json."))

    @app.exception_handler(HTTPException)
    def answer_http(request: Request, error: HTTPException) -> JsonError:
        code = HTTP_CODES.get(error.status_code, WebCode.BAD_REQUEST)
        headers = dict(error.headers or {})
        return JsonError(EngineError(str(error.detail), "See /api/v1/openapi.json.", code), headers=headers)
