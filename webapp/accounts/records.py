"""Records of users, roles and accounts, free of database and page imports."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from engine.errors import EngineError


class Role(StrEnum):
    """Roles in ascending order; each includes the permissions of those before it."""

    VIEWER = "viewer"  # sees the existing results
    ANALYST = "analyst"  # submits jobs, and searches with a reason
    ENROLLER = "enroller"  # enrols, corrects and erases speakers
    ADMIN = "admin"  # sees the jobs of all users

    def covers(self, other: "Role") -> bool:
        """Return whether this role includes the other."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class User:
    """The user of a request."""

    name: str  # also the owner of the jobs that they submit
    role: Role

    def may(self, role: Role) -> bool:
        """Return whether the user has this role."""
        return self.role.covers(role)

    def owns(self, owner: str) -> bool:
        """Return whether the user may see a job of this owner: their own, and an admin every one."""
        return owner == self.name or self.role is Role.ADMIN


LOCAL = User("local", Role.ADMIN)
"""The single user without accounts: the one at this machine."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may log in."""

    name: str
    role: Role
    is_disabled: bool
    created_at: datetime
    n_keys: int  # number of API keys


class LoginLocked(EngineError):
    """Too many failed logins; wait `retry_s` seconds."""

    code = "LOGIN_LOCKED"

    def __init__(self, message: str, hint: str = "", retry_s: int = 0):
        super().__init__(message, hint)
        self.retry_s = retry_s
