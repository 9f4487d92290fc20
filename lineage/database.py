"""The databases of this room: SQLite files under home by default, any database of SQLAlchemy's by URL.

SQLAlchemy takes a quarter of a second to import, so what only reads SQLite does without it (`rows`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.errors import GoodsightError

if TYPE_CHECKING:
    from sqlalchemy import Engine

BUSY_SECONDS = 30
SQLITE = "sqlite:///"


def rows(url: str, query: str, **values: Any) -> list[dict[str, Any]]:
    """What a SELECT finds, its `:name`s bound to `values`; nothing where the SQLite file does not exist. Never writes.

    Raises `GoodsightError` when the database cannot be read.
    """
    plain = url.startswith(SQLITE) and "?" not in url
    return _sqlite_rows(Path(url.removeprefix(SQLITE)), query, values) if plain else _other_rows(url, query, values)


def _sqlite_rows(path: Path, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.text_factory = altered_text
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
    except sqlite3.Error as error:
        raise GoodsightError(f"{path} cannot be read: {error}.", "Restore it from a backup.") from error


def _other_rows(url: str, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    database = engine(url)
    try:
        with database.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]
    except DBAPIError as error:
        raise GoodsightError(f"{database.url!r} cannot be read: {error.orig}", "Is it up, and is the URL right?") from error
    finally:
        database.dispose()


def altered_text(data: bytes) -> str:
    """Text that someone altered still reads as text, so that it is found by its hash and not by a crash."""
    return data.decode(errors="backslashreplace")


def engine(url: str, pragmas: Sequence[str] = ("synchronous=FULL",)) -> Engine:
    """The engine for a URL. In SQLite a transaction takes the lock before it reads, and `pragmas` say what a commit promises."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url

    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url)
    Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    made = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.text_factory = altered_text
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    event.listen(made, "connect", prepare)
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return made
