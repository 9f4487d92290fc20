"""What a request is called where requests are counted."""

from __future__ import annotations

from starlette.types import Scope


def route_of(scope: Scope) -> str:
    """The path of its route, with parameters by name, so that the number of different ones is bounded."""
    return str(getattr(scope.get("route"), "path_format", "other"))
