"""API keys: who may ask the gateway, for what, and how often. A key itself is shown once, when it is made; its sha256 is kept.

A key is `gs_` and 256 random bits, so its hash needs no salt and no stretching. Rotation gives the name a new key, and lets the old
one count for a while. SQLite under home by default, any database of SQLAlchemy's by URL (`GOODSIGHT_API_KEYS_URI`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Row, Table, Text, insert, select, update
from sqlalchemy.exc import DBAPIError

from goodsight.digests import sha256_bytes
from goodsight.errors import GoodsightError, InputError
from lineage.database import engine

SCOPES = ("predict", "feedback", "audit")
PREFIX = "gs_"

metadata = MetaData()
api_keys = Table(
    "api_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("made", Text, nullable=False),
    Column("ends", Text),  # revoked, or the end of the overlap after a rotation
)


@dataclass(frozen=True)
class Key:
    """One key: `rate` is the number of requests a second, `ends` when it stops to count; times are ISO 8601, UTC."""

    name: str
    sha256: str
    scopes: tuple[str, ...]
    rate: int
    made: str
    ends: str | None

    def counts(self, at: str) -> bool:
        """Whether it lets anyone in at a time."""
        return self.ends is None or at < self.ends


def now(later: timedelta = timedelta()) -> str:
    """The time in the one form that is compared here."""
    return (datetime.now(UTC) + later).isoformat(timespec="milliseconds")


def digest(key: str) -> str:
    """What is kept of a key."""
    return sha256_bytes(key.encode())


class Keys:
    """The keys at a SQLAlchemy URL. Raises `GoodsightError` when they cannot be read."""

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        try:
            metadata.create_all(self._engine)
        except DBAPIError as error:
            hint = "Is the database up, and is GOODSIGHT_API_KEYS_URI right?"
            raise GoodsightError(f"The API keys {self._engine.url!r} cannot be opened: {error.orig}", hint) from error

    def all(self) -> list[Key]:
        """Every key that ever was, the oldest first. Raises `GoodsightError` when the database does not answer."""
        try:
            with self._engine.connect() as connection:
                return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.number))]
        except DBAPIError as error:
            raise GoodsightError(f"The API keys {self._engine.url!r} cannot be read: {error.orig}") from error

    def create(self, name: str, scopes: Sequence[str], rate: int) -> str:
        """A new key, which is kept nowhere. Raises `InputError` when the name has one, or a scope does not exist."""
        wrong = set(scopes) - set(SCOPES)
        if wrong or not scopes:
            raise InputError(f"{', '.join(sorted(wrong)) or 'Nothing'} is no scope.", f"Scopes are {', '.join(SCOPES)}.")
        if not name.strip() or self._current(name):
            raise InputError(f"The name {name!r} is empty or has a key already.", f"Choose another, or: goodsight keys rotate {name}")
        return self._insert(name, ",".join(sorted(set(scopes))), rate)

    def rotate(self, name: str, overlap: timedelta) -> str:
        """A new key for a name; those before it count for `overlap` longer. Raises `InputError` when there is none."""
        current = self._found(name)
        self._end(name, now(overlap))
        return self._insert(name, ",".join(current.scopes), current.rate)

    def revoke(self, name: str) -> None:
        """Ends every key of a name now. Raises `InputError` when there is none."""
        self._found(name)
        self._end(name, now())

    def _found(self, name: str) -> Key:
        current = self._current(name)
        if current is None:
            raise InputError(f"No key that counts is called {name!r}.", "See them with: goodsight keys list")
        return current

    def _current(self, name: str) -> Key | None:
        return next((key for key in reversed(self.all()) if key.name == name and key.counts(now())), None)

    def _insert(self, name: str, scopes: str, rate: int) -> str:
        key = PREFIX + secrets.token_urlsafe(32)
        with self._engine.begin() as connection:
            connection.execute(insert(api_keys).values(name=name, sha256=digest(key), scopes=scopes, rate=rate, made=now()))
        return key

    def _end(self, name: str, at: str) -> None:
        """What ends sooner already still does."""
        later = api_keys.c.ends.is_(None) | (api_keys.c.ends > at)
        with self._engine.begin() as connection:
            connection.execute(update(api_keys).where(api_keys.c.name == name, later).values(ends=at))


def _key(row: Row[Any]) -> Key:
    return Key(row.name, row.sha256, tuple(row.scopes.split(",")), row.rate, row.made, row.ends)
