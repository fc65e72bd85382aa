"""Whose request it is: the guard in front of all routes writes it down, and whoever answers reads it here."""

from typing import Any

from webapp.accounts.records import LOCAL, Role, Visitor

SCOPE_KEY = "wayspeak.visitor"


def find_visitor(request: Any) -> Visitor:
    """Tell who sent a request, of FastAPI or of Gradio; without a guard, as on the command line, the local user."""
    scope = getattr(request, "scope", None)
    found = scope.get(SCOPE_KEY) if isinstance(scope, dict) else None
    return found if isinstance(found, Visitor) else LOCAL


__all__ = ["LOCAL", "SCOPE_KEY", "Role", "Visitor", "find_visitor"]
