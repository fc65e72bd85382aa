"""Whose request it is: the guard in front of all routes writes it down, and whoever answers reads it here."""

from typing import Any

from webapp.accounts.records import LOCAL, Role, Visitor
from webapp.errors import WebCode

SCOPE_KEY = "wayspeak.visitor"


def find_visitor(request: Any) -> Visitor:
    """Tell who sent a request, of FastAPI or of Gradio; without a guard, as on the command line, the local user."""
    inner = getattr(request, "__dict__", {}).get("request", request)  # Gradio's own would copy the whole scope
    scope = getattr(inner, "scope", None)
    found = scope.get(SCOPE_KEY) if isinstance(scope, dict) else None
    if isinstance(found, Visitor):
        return found
    name = getattr(request, "__dict__", {}).get("username")
    return LOCAL if name is None else Visitor(str(name), Role.VIEWER)  # known by name alone: the least there is


def require_role(request: Any, role: Role) -> Visitor:
    """Tell who sent a request; NOT_ALLOWED where their role does not reach that far."""
    visitor = find_visitor(request)
    if not visitor.may(role):
        raise WebCode.NOT_ALLOWED(
            f"This needs the role {role}, and {visitor.name} has {visitor.role}.",
            "Ask an administrator: wayspeak users role.",
        )
    return visitor


__all__ = ["LOCAL", "SCOPE_KEY", "Role", "Visitor", "find_visitor", "require_role"]
