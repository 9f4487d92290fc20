"""The prediction log: what was answered, by which model and index, and never what was asked.

A request hands its row to a bounded queue and goes on; one thread computes the traits of what has gathered there and writes it in one
transaction, then takes what gathered meanwhile. So a crash loses the rows of the last transaction, a fraction of a second, and nothing
that `flush` waited for. Rows that found the queue full, or a database that did not answer for long, are lost, and a gap says how many
and when.

    served        the versions that answered: model version, candidate, index, feature store; a row names one by its key
    predictions   one answer each; `results` is JSON: [id or category, score to six digits], best first; `traits` is JSON: figures
                  of the request and of what the model made of it (`lineage.traffic`)
    products      every product that was ever shown, and `shown`: which predictions showed it
    gaps          how many predictions are missing, from when to when

SQLite under home by default (a write-ahead log, so that readers and the writer do not wait for each other), any database of
SQLAlchemy's by URL; any number of processes may write at once. `lineage.answered` reads it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from goodsight.errors import GoodsightError
from lineage.answered import FINDS_PRODUCTS
from lineage.database import engine

CAPACITY = 10_000  # rows that wait while the database does not answer
BATCH = 1_000
LOOKED_UP = 500  # names in one query: databases bound the number of its parameters
DIGITS = 6
NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row number, which costs no index
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")

metadata = MetaData()
served = Table(
    "served",
    metadata,
    Column("key", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("model_version", "candidate", "index_digest", "features")),
    UniqueConstraint("model_version", "candidate", "index_digest", "features"),
)
predictions = Table(
    "predictions",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("time", Text, nullable=False),
    Column("served", ForeignKey(served.c.key), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("task", "modalities", "input")),
    Column("k", Integer, nullable=False),
    Column("results", Text, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("status", Text, nullable=False),
    Column("traits", Text),
    Index("predictions_by_served", "served", "number"),
    by_time := Index("predictions_by_time", "time"),
)
products = Table(
    "products",
    metadata,
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("product", Text, nullable=False, unique=True),
)
shown = Table(
    "shown",
    metadata,
    Column("product", Integer, primary_key=True, autoincrement=False),
    Column("prediction", NUMBER, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
gaps = Table(
    "gaps",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("since", Text, nullable=False),
    Column("until", Text, nullable=False),
)


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): milliseconds since 1970, then 74 random bits. Ids sort by time."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    return str(uuid.UUID(int=value & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62))


def now() -> str:
    """ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Prediction:
    """One answer. `input` is the sha256 of the request (`serving.request`), `features` the feature store that was read, if any."""

    id: str
    time: str  # when the request came, as `now` gives it
    task: str
    modalities: Sequence[str]
    model_version: str
    candidate: str
    index: str
    features: str
    input: str
    k: int
    results: Sequence[tuple[str, float]]  # product ids or categories with scores, best first
    latency_ms: float  # in the model server: reading, model, index
    status: Literal["ok", "refused"]
    traits: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = field(default=None, compare=False)  # or how to compute them

    @property
    def shown(self) -> set[str]:
        """The products in it."""
        return {name for name, _ in self.results} if self.task in FINDS_PRODUCTS else set()


class PredictionLog:
    """The log at a SQLAlchemy URL, its tables made when they are not there. Raises `GoodsightError` when it cannot be opened."""

    def __init__(self, url: str, capacity: int = CAPACITY) -> None:
        self._engine = engine(url, PRAGMAS)
        try:
            metadata.create_all(self._engine)
            _add_what_is_new(self._engine)
        except DBAPIError as error:
            hint = "Is the database up, and is GOODSIGHT_PREDICTIONS_URI right?"
            raise GoodsightError(f"The prediction log {self._engine.url!r} cannot be opened: {error.orig}", hint) from error
        self._waiting: Queue[Prediction | threading.Event] = Queue(capacity)
        self._lost: list[str] = []  # since when and until when, told apart from their number
        self._lost_count = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._write_for_ever, name="prediction-log", daemon=True).start()

    def log(self, prediction: Prediction) -> None:
        """Hands over one row and returns at once."""
        try:
            self._waiting.put_nowait(prediction)
        except Full:
            self._lose([prediction])

    def flush(self, timeout: float = 10.0) -> bool:
        """Waits until what was logged before is in the database; False when that took longer than `timeout` seconds."""
        written = threading.Event()
        deadline = time.monotonic() + timeout
        try:
            self._waiting.put(written, timeout=timeout)
        except Full:
            return False
        return written.wait(max(0.0, deadline - time.monotonic()))

    def _lose(self, rows: Sequence[Prediction]) -> None:
        times = [row.time for row in rows]
        with self._lock:
            self._lost_count += len(times)
            self._lost = [min([*self._lost, *times]), max([*self._lost, *times])]

    def _write_for_ever(self) -> None:
        while True:
            taken = self._next()
            rows = [_with_traits(each) for each in taken if isinstance(each, Prediction)]
            try:
                self._store(rows)
            except Exception as error:  # whatever it was, the thread lives on and the loss is told
                print(f"prediction log: {len(rows)} rows are lost: {error}", file=sys.stderr, flush=True)
                self._lose(rows)
            for each in taken:
                if isinstance(each, threading.Event):
                    each.set()

    def _next(self) -> list[Prediction | threading.Event]:
        """What waits now, at least one and at most `BATCH`."""
        taken = [self._waiting.get()]
        while len(taken) < BATCH:
            try:
                taken.append(self._waiting.get_nowait())
            except Empty:
                break
        return taken

    @retry(
        retry=retry_if_exception_type(DBAPIError),
        wait=wait_random_exponential(0.01, max=1),
        stop=stop_after_attempt(50),
        reraise=True,
    )
    def _store(self, rows: Sequence[Prediction]) -> None:
        """One attempt. Another writer's row with the same number or name (SQLite waits instead) makes it start again."""
        with self._lock:
            lost, span = self._lost_count, self._lost
        if not rows and not lost:
            return
        with self._engine.begin() as connection:
            if rows:
                _insert(connection, rows)
            if lost:
                connection.execute(insert(gaps).values(count=lost, since=span[0], until=span[1]))
        with self._lock:
            self._lost_count -= lost
            self._lost = self._lost if self._lost_count else []


@retry(retry=retry_if_exception_type(DBAPIError), wait=wait_random_exponential(0.1, max=1), stop=stop_after_attempt(5), reraise=True)
def _add_what_is_new(database: Engine) -> None:
    """A log that an earlier release made gets its column of traits and its index by time. Another process may be at it too."""
    with database.begin() as connection:
        known = inspect(connection)
        if "traits" not in {column["name"] for column in known.get_columns("predictions")}:
            connection.execute(text("ALTER TABLE predictions ADD COLUMN traits TEXT"))
        if by_time.name not in {index["name"] for index in known.get_indexes("predictions")}:
            by_time.create(connection)


def _insert(connection: Connection, rows: Sequence[Prediction]) -> None:
    first = _after(connection, predictions.c.number)
    by = {version: _served_key(connection, version) for version in dict.fromkeys(map(_version, rows))}
    keys = _product_keys(connection, sorted(set().union(*(row.shown for row in rows))))
    connection.execute(insert(predictions), [_row(number, row, by[_version(row)]) for number, row in enumerate(rows, first)])
    links = sorted((keys[name], number) for number, row in enumerate(rows, first) for name in row.shown)
    if links:
        connection.execute(insert(shown), [{"product": key, "prediction": number} for key, number in links])


def _after(connection: Connection, column: Column[int]) -> int:
    return connection.execute(select(func.coalesce(func.max(column), 0))).scalar_one() + 1


def _row(number: int, row: Prediction, key: int) -> dict[str, Any]:
    results = json.dumps([(name, round(score, DIGITS)) for name, score in row.results], ensure_ascii=False, separators=(",", ":"))
    told = {name: getattr(row, name) for name in ("id", "time", "task", "input", "k", "status")}
    modalities, latency = ",".join(row.modalities), round(row.latency_ms, 3)
    traits = json.dumps(row.traits, ensure_ascii=False, separators=(",", ":")) if row.traits else None
    figures = {"results": results, "latency_ms": latency, "traits": traits}
    return {"number": number, **told, "modalities": modalities, **figures, "served": key}


def _with_traits(row: Prediction) -> Prediction:
    """The row with its traits computed; without, where that fails: an answer is logged in any case. Nothing of the input is told."""
    try:
        return replace(row, traits=row.traits()) if callable(row.traits) else row
    except Exception as error:  # whatever was asked
        print(f"prediction log: {row.id} has no traits: {type(error).__name__}", file=sys.stderr, flush=True)
        return replace(row, traits=None)


def _version(row: Prediction) -> tuple[str, str, str, str]:
    return row.model_version, row.candidate, row.index, row.features


def _served_key(connection: Connection, version: tuple[str, str, str, str]) -> int:
    named = dict(zip(("model_version", "candidate", "index_digest", "features"), version, strict=True))
    found = connection.execute(select(served.c.key).filter_by(**named)).scalar()
    if found is None:
        found = _after(connection, served.c.key)
        connection.execute(insert(served).values(key=found, **named))
    return int(found)


def _product_keys(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    keys: dict[str, int] = {}
    for start in range(0, len(names), LOOKED_UP):
        wanted = names[start : start + LOOKED_UP]
        known = select(products.c.product, products.c.key).where(products.c.product.in_(wanted))
        keys |= {row.product: row.key for row in connection.execute(known)}
    new = [name for name in names if name not in keys]
    if new:
        fresh = {name: key for key, name in enumerate(new, _after(connection, products.c.key))}
        connection.execute(insert(products), [{"key": key, "product": name} for name, key in fresh.items()])
        keys |= fresh
    return keys
