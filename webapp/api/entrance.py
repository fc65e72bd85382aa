"""What every route of the API asks first: who is it, and may they."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from webapp.accounts.records import Role, Visitor
from webapp.accounts.visitors import require_role

KEY = HTTPBearer(auto_error=False, description="A key of `wayspeak users key add`; none is needed without accounts.")
"""For the schema alone: the guard in front of all routes has read the key already."""


def _ask(role: Role) -> Callable[[Request], Visitor]:
    def enter(request: Request) -> Visitor:
        return require_role(request, role)

    return enter


def _needs(role: Role) -> Any:
    return Depends(_ask(role))


AnyVisitor = Annotated[Visitor, _needs(Role.VIEWER)]
Analyst = Annotated[Visitor, _needs(Role.ANALYST)]
Enroller = Annotated[Visitor, _needs(Role.ENROLLER)]
