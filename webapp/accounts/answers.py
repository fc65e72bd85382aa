"""An error as the answer to a request: the right status, and the words in JSON as everywhere."""

import logging
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from engine.errors import EngineError
from engine.reports.json import error_to_json
from webapp.accounts.errors import LoginLocked
from webapp.errors import WebCode

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
OTHERWISE = 422  # what was sent cannot be done


_log = logging.getLogger(__name__)


class JsonError(JSONResponse):
    """An EngineError as an answer."""

    def __init__(self, error: EngineError, **kwargs: Any):
        headers = {"Cache-Control": "no-store"}
        if isinstance(error, LoginLocked):
            headers["Retry-After"] = str(error.retry_s)
        if error.code == "NOT_LOGGED_IN":
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(error_to_json(error), STATUS.get(error.code, OTHERWISE), headers | kwargs.pop("headers", {}))


def answer_error(request: Request, error: Exception) -> JsonError:
    """Answer an EngineError in its own words, and a mistake of ours without its details, which the log has."""
    if isinstance(error, EngineError):
        return JsonError(error)
    _log.error("a request failed", exc_info=error)
    return JsonError(
        WebCode.INTERNAL_ERROR("Something went wrong inside Wayspeak.", "Try again; the terminal shows the cause.")
    )
