"""Why somebody is not let in, in words that help them and tell a stranger nothing."""

from engine.errors import EngineError


class AccountError(EngineError):
    """Something about accounts that the person can act on."""

    code = "ACCOUNT_ERROR"


class NotLoggedIn(AccountError):
    """Nobody is logged in, or the session has ended."""

    code = "NOT_LOGGED_IN"


class NotAllowed(AccountError):
    """The role does not reach that far."""

    code = "NOT_ALLOWED"


class BadLogin(AccountError):
    """Name and password do not belong together; which of them is wrong is never told."""

    code = "BAD_LOGIN"


class LoginLocked(AccountError):
    """Too many bad logins; `retry_s` seconds to wait."""

    code = "LOGIN_LOCKED"

    def __init__(self, message: str, hint: str = "", retry_s: int = 0):
        super().__init__(message, hint)
        self.retry_s = retry_s


class BadAccount(AccountError):
    """A name that cannot be one, is taken or is nobody's, or a password that is too easy."""

    code = "BAD_ACCOUNT"


class ForeignRequest(AccountError):
    """Another site sent the request, or it was sent to a name that this server does not go by."""

    code = "FOREIGN_REQUEST"


class PublicWithoutAccounts(AccountError):
    """The server was told to listen where others can reach it, and nobody would have to log in."""

    code = "PUBLIC_WITHOUT_ACCOUNTS"
