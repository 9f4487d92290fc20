"""The online store: SQLite in the store's folder, or the Redis or Postgres that GOODSIGHT_ONLINE_STORE names."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from goodsight.errors import InputError

EMBEDDED = {"type": "sqlite", "path": "online.db"}
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
    options = {"db": parts.path.strip("/") or "0"}
    if parts.username:
        options["username"] = unquote(parts.username)
    if parts.password:
        options["password"] = unquote(parts.password)
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    if any("," in value for value in options.values()):
        raise InputError("GOODSIGHT_ONLINE_STORE has a comma in its user or password, which Feast cannot pass on.", "Choose another one.")
    said = ",".join(f"{name}={value}" for name, value in options.items())
    return {"type": "redis", "connection_string": f"{parts.hostname}:{parts.port or 6379},{said}"}


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
