"""Every error of the API in one form, whoever raised it."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from engine.errors import EngineError
from webapp.accounts.answers import JsonError, answer_error
from webapp.api.views import ErrorView

ERRORS: dict[int | str, dict[str, object]] = {
    "4XX": {"model": ErrorView, "description": "What was wrong, and what to do."},
    "5XX": {"model": ErrorView, "description": "What failed here."},
}


class Invalid(EngineError):
    """What was sent does not fit the schema."""

    code = "INVALID"


class Plainly(EngineError):
    """An error of HTTP itself."""

    code = "BAD_REQUEST"

    def __init__(self, code: str, message: str, hint: str):
        super().__init__(message, hint)
        self.code = code


HTTP_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def install(app: FastAPI) -> None:
    """Let the app answer all errors so."""
    app.add_exception_handler(EngineError, answer_error)
    app.add_exception_handler(Exception, answer_error)

    @app.exception_handler(RequestValidationError)
    def answer_invalid(request: Request, error: RequestValidationError) -> JsonError:
        places = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5]]
        return JsonError(Invalid("; ".join(places)[:600], "See /api/v1/openapi.json."))

    @app.exception_handler(HTTPException)
    def answer_http(request: Request, error: HTTPException) -> JsonError:
        code = HTTP_CODES.get(error.status_code, "BAD_REQUEST")
        headers = dict(error.headers or {})
        return JsonError(Plainly(code, str(error.detail), "See /api/v1/openapi.json."), headers=headers)
