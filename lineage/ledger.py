"""The ledger: an append-only record in which every event carries the hash of the one before it.

Any later change, removal or insertion breaks the chain, and `verify` names the first event that does not fit. Events cut off
the end leave a shorter chain that is still whole; the signed checkpoint outside the database shows that, and nothing is
appended to such a chain. A home has one ledger: SQLite under home by default, any database of SQLAlchemy's by URL; any number
of processes may append at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Row, Select, Table, Text, select
from sqlalchemy.exc import IntegrityError as TakenError
from sqlalchemy.exc import OperationalError, ProgrammingError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from goodsight.digests import canonical_json
from goodsight.errors import BusyError, ConflictError, InputError, IntegrityError
from goodsight.settings import settings
from lineage import checkpoints
from lineage.checkpoints import Checkpoint
from lineage.database import engine
from lineage.event import Event, broken

KINDS = (
    "snapshot", "validation", "run", "verdict", "override", "registration", "alias_move", "deploy", "rollback", "erasure", "removal",
    "trigger", "key", "bulk", "rollout",
)  # fmt: skip
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
subject_table = Table(
    "subjects",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False, index=True),
)


class Ledger:
    """The ledger at a SQLAlchemy URL; its tables are made when they are not there.

    Opening and appending raise `BusyError` when another process holds the database for too long.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        with self._busy_is_an_error():
            self._create()

    def append(self, kind: str, actor: str, subjects: Sequence[str], payload: dict[str, Any], expect: int | None = None) -> Event:
        """Adds one event at the end and returns it; once returned it is on disk, and the checkpoint covers it.

        With `expect` it is added only while the newest event of its kind is the one with that seq (0: there is none), whoever else
        appends at the same time, on this machine or another. Raises `ConflictError` when it is not, `InputError` for an unknown kind
        or when `payload` is not JSON, `IntegrityError` when events that the checkpoint knows are gone.
        """
        if kind not in KINDS:
            raise InputError(f"{kind!r} is no kind of ledger event.", f"The kinds are {', '.join(KINDS)}.")
        try:
            canonical_json([kind, actor, list(subjects), payload]).encode()
        except (TypeError, ValueError) as error:
            raise InputError(f"A ledger event of kind {kind!r} is not JSON: {error}", "Use plain values.") from error
        with self._busy_is_an_error():
            new = self._append(kind, actor, list(subjects), payload, expect)
        checkpoints.record(new.seq, new.hash)
        return new

    def events(self, kind: str | None = None) -> list[Event]:
        """The events in order, all or those of one kind. Raises `IntegrityError` when one cannot be read."""
        query = select(table) if kind is None else select(table).where(table.c.kind == kind)
        return [Event.of(row._mapping) for page in self._pages(query) for row in page]

    def about(self, digest: str) -> list[Event]:
        """The events, in order, that have `digest` among their subjects. Raises `IntegrityError` when one cannot be read."""
        query = select(table).join(subject_table, subject_table.c.seq == table.c.seq).where(subject_table.c.digest == digest)
        return [Event.of(row._mapping) for page in self._pages(query) for row in page]

    def verify(self) -> int:
        """Walks the whole chain and returns its length.

        Raises `IntegrityError` naming the first event that was altered, moved, removed or cut off the end.
        """
        last = checkpoints.newest()  # before the walk: others go on appending
        length, _ = self._walk()
        with self._reading() as connection:
            _check_end(connection, last)
        return length

    def accept(self, actor: str, reason: str) -> Event:
        """Takes the chain for the whole ledger, whatever the checkpoint says, and appends who did so and why.

        For a ledger that was restored from a backup or moved. Raises `IntegrityError` when the chain itself is broken.
        """
        length, digest = self._walk()
        checkpoints.record(length, digest, anyway=True)
        return self.append("key", actor, [], {"action": "accept the ledger", "reason": reason, "length": length})

    def _walk(self) -> tuple[int, str]:
        """The chain's length and last hash, once every event and its subjects are found to be right."""
        length, previous = 0, GENESIS
        for page in self._pages(select(table)):
            for row in page:
                length += 1
                if row.seq != length:
                    raise broken(length, f"missing, {row.seq!r} stands in its place")
                if Event.of(row._mapping).previous != previous:
                    raise broken(length, f"chained to {row.previous!r}, not to the event before it")
                previous = row.hash
            with self._reading() as connection:
                _check_subjects(connection, page)
        return length, previous

    @retry(
        retry=retry_if_exception_type(TakenError),
        wait=wait_random_exponential(0.01, max=1),
        stop=stop_after_attempt(50),
        reraise=True,
    )
    def _append(self, kind: str, actor: str, subjects: list[str], payload: dict[str, Any], expect: int | None) -> Event:
        """One attempt; another writer's event with the same seq (SQLite and Postgres wait instead) makes it start again."""
        last = checkpoints.newest()  # before the tail is read: it knows no event that is not there yet
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("LOCK TABLE events IN EXCLUSIVE MODE")  # writers queue, readers go on
            seq, previous = _tail(connection)
            _check_end(connection, last)
            if expect is not None:
                _check_newest(connection, kind, expect)  # after the tail: what comes between the two takes the seq that this one wants
            time = datetime.now(UTC).isoformat(timespec="microseconds")
            new = Event(seq + 1, time, kind, actor, subjects, payload, previous)
            texts = {"subjects": canonical_json(subjects), "payload": canonical_json(payload)}
            connection.execute(table.insert().values(**{**new.to_json(), **texts, "hash": new.hash}))
            _file(connection, new)
        return new

    @retry(retry=retry_if_exception_type((TakenError, ProgrammingError)), stop=stop_after_attempt(5), reraise=True)
    def _create(self) -> None:
        """Makes what is missing; another process that does so at the same moment makes it start again."""
        with self._reading() as connection:
            missing = [each for each in (table, subject_table) if not connection.dialect.has_table(connection, each.name)]
        if table in missing:
            checkpoints.record(0, GENESIS)  # before there is a ledger: one without a checkpoint has lost it
        if missing:
            with self._engine.begin() as connection:
                unfiled = not connection.dialect.has_table(connection, subject_table.name)
                metadata.create_all(connection)
                for row in connection.execute(select(table)).all() if unfiled else ():
                    _file(connection, Event.of(row._mapping))

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def _busy_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, TakenError) as error:
            raise BusyError(f"The ledger {self._engine.url!r} did not answer: {error.orig}", "Try again.") from error

    def _pages(self, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        """The rows of `query` in order of seq, a page at a time: no reader holds a lock for long."""
        query, last = query.order_by(table.c.seq).limit(PAGE), None
        while True:
            with self._reading() as connection:
                page = connection.execute(query if last is None else query.where(table.c.seq > last)).all()
            if page:
                yield page
            if len(page) < PAGE:
                return
            last = page[-1].seq


def _tail(connection: Connection) -> tuple[int, str]:
    row = connection.execute(select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)).first()
    return (row.seq, row.hash) if row else (0, GENESIS)


def _check_newest(connection: Connection, kind: str, expect: int) -> None:
    newest = connection.scalar(select(table.c.seq).where(table.c.kind == kind).order_by(table.c.seq.desc()).limit(1)) or 0
    if newest != expect:
        message = f"The newest event of kind {kind!r} is {newest}, not {expect}: another process was first."
        raise ConflictError(message, "Read the ledger again, then decide again.")


def _file(connection: Connection, new: Event) -> None:
    """Makes an event findable by its subjects."""
    if new.subjects:
        connection.execute(subject_table.insert(), [{"digest": digest, "seq": new.seq} for digest in sorted(set(new.subjects))])


def _check_end(connection: Connection, last: Checkpoint | None) -> None:
    """Raises `IntegrityError` when the event that the checkpoint `last` knows is not there."""
    hint = "Restore the ledger from a backup. If it was restored or moved on purpose: goodsight audit accept --reason TEXT"
    if last is None:
        raise IntegrityError(f"The ledger has no checkpoint: {settings().checkpoint_file} is missing.", hint)
    known = GENESIS if last.seq == 0 else connection.scalar(select(table.c.hash).where(table.c.seq == last.seq))
    if known is None:
        length, _ = _tail(connection)
        raise IntegrityError(f"The ledger ends at event {length}, its checkpoint of {last.time} knows event {last.seq}.", hint)
    if known != last.hash:
        raise IntegrityError(f"Ledger event {last.seq} is not the one that the checkpoint of {last.time} knows.", hint)


def _check_subjects(connection: Connection, page: Sequence[Row[Any]]) -> None:
    """Raises `IntegrityError` when the events of `page` cannot be found by their subjects, or by others."""
    of_page = subject_table.c.seq.between(page[0].seq, page[-1].seq)
    found = {(row.digest, row.seq) for row in connection.execute(select(subject_table).where(of_page))}
    if wrong := found ^ {(digest, row.seq) for row in page for digest in json.loads(row.subjects)}:
        raise broken(min(seq for _, seq in wrong), "filed under other subjects than its own")
