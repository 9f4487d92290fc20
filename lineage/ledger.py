"""The ledger: an append-only record in which every event carries the hash of the one before it.

Any later change, removal or insertion breaks the chain, and `verify` names the first event that does not fit. (Events
cut off the end leave a shorter chain that is still whole; only a copy of a later hash kept elsewhere can show that.)
SQLite under home by default, any database of SQLAlchemy's by URL; any number of processes may append at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Row, Table, Text, select
from sqlalchemy.exc import IntegrityError as TakenError
from sqlalchemy.exc import OperationalError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from goodsight.digests import canonical_json, sha256_json
from goodsight.errors import BusyError, InputError, IntegrityError
from lineage.database import engine

GENESIS = "0" * 64
PAGE = 1_000

metadata = MetaData()
table = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Text, nullable=False),
    Column("kind", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("subjects", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
)


@dataclass(frozen=True)
class Event:
    """One thing that happened: `subjects` are the digests it is about, `previous` the hash of the event before it."""

    seq: int
    time: str
    kind: str
    actor: str
    subjects: list[str]
    payload: dict[str, Any]
    previous: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @property
    def hash(self) -> str:
        """sha256 of the event as canonical JSON."""
        return sha256_json(self.to_json())


class Ledger:
    """The ledger at a SQLAlchemy URL; its table is made when it is not there.

    Opening and appending raise `BusyError` when another process holds the database for too long.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        with self._busy_is_an_error():
            self._create()

    def append(self, kind: str, actor: str, subjects: Sequence[str], payload: dict[str, Any]) -> Event:
        """Adds one event at the end and returns it; once returned it is on disk.

        Raises `InputError` when `payload` is not JSON.
        """
        try:
            canonical_json([kind, actor, list(subjects), payload]).encode()
        except (TypeError, ValueError) as error:
            raise InputError(f"A ledger event of kind {kind!r} is not JSON: {error}", "Use plain values.") from error
        with self._busy_is_an_error():
            return self._append(kind, actor, list(subjects), payload)

    def events(self, kind: str | None = None) -> list[Event]:
        """The events in order, all or those of one kind. Raises `IntegrityError` when one cannot be read."""
        return [_event(row) for row in self._rows() if kind is None or row.kind == kind]

    def verify(self) -> int:
        """Walks the whole chain and returns its length. Raises `IntegrityError` naming the first altered event."""
        previous, seq = GENESIS, 0
        for seq, row in enumerate(self._rows(), start=1):
            if row.seq != seq:
                raise _broken(seq, f"missing, {row.seq!r} stands in its place")
            if _event(row).previous != previous:
                raise _broken(seq, f"chained to {row.previous!r}, not to the event before it")
            previous = row.hash
        return seq

    @retry(
        retry=retry_if_exception_type(TakenError),
        wait=wait_random_exponential(0.01, max=1),
        stop=stop_after_attempt(50),
        reraise=True,
    )
    def _append(self, kind: str, actor: str, subjects: list[str], payload: dict[str, Any]) -> Event:
        """One attempt; another writer's event with the same seq (SQLite waits instead) makes it start again."""
        with self._engine.begin() as connection:
            seq, previous = _tail(connection)
            time = datetime.now(UTC).isoformat(timespec="microseconds")
            new = Event(seq + 1, time, kind, actor, subjects, payload, previous)
            texts = {"subjects": canonical_json(subjects), "payload": canonical_json(payload)}
            connection.execute(table.insert().values(**{**new.to_json(), **texts, "hash": new.hash}))
        return new

    def _create(self) -> None:
        with self._reading() as connection:
            if connection.dialect.has_table(connection, table.name):
                return
        with self._engine.begin() as connection:
            metadata.create_all(connection)

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def _busy_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, TakenError) as error:
            raise BusyError(f"The ledger {self._engine.url!r} did not answer: {error.orig}", "Try again.") from error

    def _rows(self) -> Iterator[Row[Any]]:
        """Every row in order of seq, a page at a time: no reader holds a lock for long."""
        last = None
        while True:
            query = select(table).order_by(table.c.seq).limit(PAGE)
            with self._reading() as connection:
                page = connection.execute(query if last is None else query.where(table.c.seq > last)).all()
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].seq


def _tail(connection: Connection) -> tuple[int, str]:
    row = connection.execute(select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)).first()
    return (row.seq, row.hash) if row else (0, GENESIS)


def _event(row: Row[Any]) -> Event:
    """The event in `row`, its bytes checked against its hash."""
    try:
        subjects, payload = json.loads(row.subjects), json.loads(row.payload)
        found = Event(row.seq, row.time, row.kind, row.actor, subjects, payload, row.previous)
        same = (canonical_json(subjects), canonical_json(payload), found.hash) == (row.subjects, row.payload, row.hash)
    except (TypeError, ValueError) as error:
        raise _broken(row.seq, f"unreadable ({error})") from error
    if not same:
        raise _broken(row.seq, "not what its hash says")
    return found


def _broken(seq: Any, what: str) -> IntegrityError:
    return IntegrityError(f"Ledger event {seq!r} is {what}.", "The ledger was altered: restore it from a backup.")
