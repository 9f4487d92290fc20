"""The online store: SQLite in the store's folder, or the Redis or Postgres that GOODSIGHT_ONLINE_STORE names."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from goodsight.errors import InputError

EMBEDDED = {"type": "sqlite", "path": "online.db"}
PROMPT = {"socket_timeout": "0.5", "socket_connect_timeout": "0.5", "retry": "null"}  # of a Redis: seconds, and once alone
EXAMPLES = "redis://host:6379/0 or postgresql://user:password@host/database"


def online_store_config(url: str) -> dict[str, Any]:
    """Feast's `online_store` for `url`; empty: SQLite. Raises `InputError` for a URL of another kind, without showing it."""
    if not url:
        return EMBEDDED
    try:
        parts = urlsplit(url)
        made = {"redis": _redis, "rediss": _redis, "postgresql": _postgres}.get(parts.scheme)
        if made and parts.hostname:
            return made(parts)
    except ValueError:  # a port that is no number
        pass
    raise InputError("GOODSIGHT_ONLINE_STORE is no URL of a Redis or a Postgres.", f"Set it to {EXAMPLES}, or unset it.")


def _redis(parts: SplitResult) -> dict[str, Any]:
    options = {"db": parts.path.strip("/") or "0"} | PROMPT
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            options[name] = _as_json(unquote(value))
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    said = ",".join(f"{name}={value}" for name, value in options.items())
    return {"type": "redis", "connection_string": f"{parts.hostname}:{parts.port or 6379},{said}"}


def _as_json(text: str) -> str:
    """Feast splits at commas and reads each value as JSON: without quotation marks a password of digits would become a number."""
    return json.dumps(text).replace(",", "\\u002c")


def _postgres(parts: SplitResult) -> dict[str, Any]:
    queried = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "type": "postgres",
        "host": parts.hostname,
        "port": parts.port or 5432,
        "database": unquote(parts.path.strip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "sslmode": queried.get("sslmode", "prefer"),
    }
