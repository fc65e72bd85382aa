"""Who visits, and what they may. Importing it imports neither a database nor the page.

The error of accounts that carries more than a code.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from engine.errors import EngineError


class Role(StrEnum):
    """Each may what those before it may."""

    VIEWER = "viewer"  # sees what is there
    ANALYST = "analyst"  # hands jobs in, and searches with a reason
    ENROLLER = "enroller"  # enrols, corrects and forgets speakers
    ADMIN = "admin"  # sees everybody's jobs

    def covers(self, other: "Role") -> bool:
        """Tell whether this role may what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever sent a request."""

    name: str  # also the owner of the jobs they hand in
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether they may what this role may."""
        return self.role.covers(role)

    def owns(self, owner: str) -> bool:
        """Tell whether somebody's jobs are theirs to see: their own, and an admin's all."""
        return owner == self.name or self.role is Role.ADMIN


LOCAL = Visitor("local", Role.ADMIN)
"""The single user where there are no accounts: whoever sits at this machine."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in."""

    name: str
    role: Role
    is_disabled: bool
    created_at: datetime
    n_keys: int  # of the API


class LoginLocked(EngineError):
    """Too many bad logins; `retry_s` seconds to wait."""

    code = "LOGIN_LOCKED"

    def __init__(self, message: str, hint: str = "", retry_s: int = 0):
        super().__init__(message, hint)
        self.retry_s = retry_s
