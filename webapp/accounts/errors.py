"""The error of accounts that carries more than a code."""

from engine.errors import EngineError


class LoginLocked(EngineError):
    """Too many bad logins; `retry_s` seconds to wait."""

    code = "LOGIN_LOCKED"

    def __init__(self, message: str, hint: str = "", retry_s: int = 0):
        super().__init__(message, hint)
        self.retry_s = retry_s
