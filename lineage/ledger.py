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
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Engine, MetaData, Row, Table, Text, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError as TakenError
from sqlalchemy.exc import OperationalError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from goodsight.digests import canonical_json, sha256_json
from goodsight.errors import BusyError, ConflictError, InputError, IntegrityError

GENESIS = "0" * 64
BUSY_SECONDS = 30
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
        self._engine = _engine(url)
        with self._busy_is_an_error():
            self._create()

    def append(self, kind: str, actor: str, subjects: Sequence[str], payload: dict[str, Any], expect: int | None = None) -> Event:
        """Adds one event at the end and returns it; once returned it is on disk.

        With `expect` it is added only while the newest event of its kind is the one with that seq (0: there is none), whoever else
        appends at the same time, on this machine or another. Raises `ConflictError` when it is not, and `InputError` when `payload`
        is not JSON.
        """
        try:
            canonical_json([kind, actor, list(subjects), payload]).encode()
        except (TypeError, ValueError) as error:
            raise InputError(f"A ledger event of kind {kind!r} is not JSON: {error}", "Use plain values.") from error
        with self._busy_is_an_error():
            return self._append(kind, actor, list(subjects), payload, expect)

    def events(self, kind: str | None = None) -> list[Event]:
        """The events in order, all or those of one kind. Raises `IntegrityError` when one cannot be read."""
        return [_event(row) for row in self._rows(kind)]

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
    def _append(self, kind: str, actor: str, subjects: list[str], payload: dict[str, Any], expect: int | None) -> Event:
        """One attempt; another writer's event with the same seq (SQLite waits instead) makes it start again."""
        with self._engine.begin() as connection:
            seq, previous = _tail(connection)
            if expect is not None:
                _check_newest(connection, kind, expect)  # after the tail: what is added between the two takes the seq that this one wants
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

    def _rows(self, kind: str | None = None) -> Iterator[Row[Any]]:
        """Every row, or every one of a kind, in order of seq, a page at a time: no reader holds a lock for long."""
        last = None
        while True:
            query = select(table).order_by(table.c.seq).limit(PAGE)
            if kind is not None:
                query = query.where(table.c.kind == kind)
            with self._reading() as connection:
                page = connection.execute(query if last is None else query.where(table.c.seq > last)).all()
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].seq


def _tail(connection: Connection) -> tuple[int, str]:
    row = connection.execute(select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)).first()
    return (row.seq, row.hash) if row else (0, GENESIS)


def _check_newest(connection: Connection, kind: str, expect: int) -> None:
    newest = connection.execute(select(table.c.seq).where(table.c.kind == kind).order_by(table.c.seq.desc()).limit(1)).scalar() or 0
    if newest != expect:
        message = f"The newest event of kind {kind!r} is {newest}, not {expect}: another process was first."
        raise ConflictError(message, "Read the ledger again, then decide again.")


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


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url)
    Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Writers take the lock before they read the tail, commits reach the disk, and altered text still reads as text."""
    connection.isolation_level = None
    connection.text_factory = lambda data: data.decode(errors="backslashreplace")
    connection.execute("PRAGMA synchronous=FULL")
