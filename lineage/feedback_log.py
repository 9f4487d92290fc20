"""Takes feedback in: a click, a purchase or the right category, each about one answer of the prediction log, and each counted once.

    feedback   one piece each: what it is about (`prediction`, and the product by its `place` in the answer, 1 is the best, 0 stands for
               an answer to categorize), what is said, when and by whose key; and of the answer what figures need of it

The same said again changes nothing, so that whoever is in doubt may send it again; another thing said of the same is refused. `Limits`
bound what one answer and one key can say. What turns out to be abuse is withdrawn and stays in the table, with the reason and the name.
The table stands in the database of the prediction log; `lineage.feedback` reads it. A visitor is kept as a digest that changes every day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from goodsight.digests import sha256_bytes
from goodsight.errors import BusyError, ConflictError, GoodsightError, InputError, NotFoundError
from lineage import predictions
from lineage.answered import FINDS_PRODUCTS
from lineage.database import engine, rows
from lineage.feedback import moment

Kind = Literal["click", "purchase", "category"]
AHEAD = timedelta(minutes=5)  # by which the clock of whoever sends may be ahead of ours
SEPARATOR = " > "
ANSWER = (
    "SELECT id, time, task, results, status, model_version FROM predictions JOIN served ON served.key = predictions.served WHERE id = :id"
)

metadata = MetaData()
table = Table(
    "feedback",
    metadata,
    Column("number", predictions.NUMBER, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    *(Column(name, Text, nullable=False) for name in ("prediction", "kind", "product", "category")),
    Column("value", Float),
    *(Column(name, Text, nullable=False) for name in ("query", "time", "received", "key", "visitor")),
    *(Column(name, Text, nullable=False) for name in ("answered", "task", "model_version")),
    Column("place", Integer, nullable=False),
    Column("agrees", Integer),  # of a category: 1 when it is what was answered first, 0 when not, null where none was answered
    *(Column(name, Text, nullable=False, server_default="") for name in ("withdrawn", "reason", "withdrawn_by")),
    UniqueConstraint("prediction", "kind", "place"),
    Index("feedback_by_answered", "answered"),
    Index("feedback_by_key", "key", "received"),
)


@dataclass(frozen=True)
class Limits:
    """How much may be said."""

    prediction: int = 32  # of one answer
    day: int = 50_000  # with one key within 24 hours
    days: int = 90  # age of an answer


@dataclass(frozen=True)
class Given:
    """What is said of an answer: `product` is the one clicked or bought, or whose `category` is told."""

    prediction: str
    kind: Kind
    product: str = ""
    category: str = ""  # levels with " > " between them
    value: float | None = None  # of a purchase, as the shop counts
    query: str = ""  # the words searched for, where the shop wants them in its data
    time: str = ""  # when it happened; default: now
    visitor: str = ""  # whatever the shop calls who did it


@dataclass(frozen=True)
class Taken:
    """The piece's id, and whether it is new or was known."""

    id: str
    new: bool


class FeedbackLog:
    """The feedback in the database at a SQLAlchemy URL. Raises `GoodsightError` when it cannot be opened."""

    def __init__(self, url: str, limits: Limits = Limits()) -> None:
        self._url, self._engine, self.limits = url, engine(url, predictions.PRAGMAS), limits
        try:
            predictions.metadata.create_all(self._engine)
            metadata.create_all(self._engine)
        except DBAPIError as error:
            hint = "Is the database up, and is GOODSIGHT_PREDICTIONS_URI right?"
            raise GoodsightError(f"The feedback {self._engine.url!r} cannot be opened: {error.orig}", hint) from error

    def give(self, given: Given, key: str = "") -> Taken:
        """Keeps one piece, or finds it kept.

        Raises `NotFoundError` when no answer has the id, `InputError` when the answer cannot have such feedback, `ConflictError` when
        another thing was said of the same or the answer has had its share, `BusyError` when the key has had its share of this day, and
        `GoodsightError` when the database does not answer.
        """
        try:
            return self._give(given, key)
        except DBAPIError as error:
            raise GoodsightError(f"The feedback {self._engine.url!r} cannot be written: {error.orig}", "Is the database up?") from error

    @retry(retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(3), reraise=True)
    def _give(self, given: Given, key: str) -> Taken:
        """One attempt. Another writer's same piece, at the same moment, is found at the next."""
        now = datetime.now(UTC)
        answer = self._answer(given.prediction.lower())
        place, agrees = _about(given, answer)
        with self._engine.begin() as connection:
            told = connection.execute(select(table).where(table.c.prediction == answer["id"])).all()
            for row in told:
                if (row.kind, row.place) == (given.kind, place):
                    return _again(row, given)
            happened = _happened(given, answer, now)
            self._check_limits(connection, answer, len(told), key, now)
            id = predictions.new_id()
            said = {"product": given.product, "category": _levels(given.category), "value": given.value, "query": given.query.strip()}
            of = {"prediction": answer["id"], "answered": answer["time"], "task": answer["task"], "model_version": answer["model_version"]}
            by = {"key": key, "visitor": _visitor(given.visitor, key, now), "received": now.isoformat(timespec="microseconds")}
            row = {"id": id, "kind": given.kind, "time": happened, "place": place, "agrees": agrees, **said, **of, **by}
            connection.execute(insert(table), [row])
        return Taken(id, True)

    def withdraw(self, reason: str, by: str, ids: Sequence[str] = (), key: str | None = None, since: str | datetime = "1970-01-01") -> int:
        """Lets the pieces of these ids, or all that came with a key since then, count no more; returns how many did until now.

        Raises `InputError` without a reason, or when it is not said which.
        """
        if not reason.strip() or (not ids and key is None):
            raise InputError("A withdrawal says why, and of which pieces.", "Give a reason, and ids or a key.")
        which = table.c.id.in_(ids) if ids else (table.c.key == key) & (table.c.received >= moment(since))
        at = predictions.now()
        with self._engine.begin() as connection:
            change = update(table).where(which, table.c.withdrawn == "").values(withdrawn=at, reason=reason.strip(), withdrawn_by=by)
            return int(connection.execute(change).rowcount)

    def _answer(self, id: str) -> Mapping[str, Any]:
        """The answer of an id, read without a lock: who waits for one must not keep it from being written.

        Raises `NotFoundError` when the log has none.
        """
        if self._engine.dialect.name == "sqlite":
            found = [*rows(self._url, ANSWER, id=id)]
        else:
            with self._engine.connect() as connection:
                found = [dict(row) for row in connection.execute(text(ANSWER), {"id": id}).mappings()]
        if not found:
            raise NotFoundError("No answer has this id.", "Give the id that the answer came with.")
        return found[0]

    def _check_limits(self, connection: Connection, answer: Mapping[str, Any], told: int, key: str, now: datetime) -> None:
        if answer["time"] < moment(now - timedelta(days=self.limits.days)):
            raise InputError(f"The answer is older than {self.limits.days} days.", "Feedback comes soon, or not at all.")
        if told >= self.limits.prediction:
            raise ConflictError(f"The answer has had its {self.limits.prediction} pieces of feedback.", "Ask anew, for another answer.")
        recent = (table.c.key == key) & (table.c.received >= moment(now - timedelta(days=1)))
        if connection.execute(select(func.count()).select_from(table).where(recent)).scalar_one() >= self.limits.day:
            raise BusyError(f"The key {key!r} has had its {self.limits.day:,} pieces of feedback of 24 hours.", "Go on tomorrow.")


def _about(given: Given, answer: Mapping[str, Any]) -> tuple[int, int | None]:
    """The place that `given` is about, and of a category whether it agrees. Raises `InputError` when the answer has no such."""
    results = json.loads(answer["results"])
    if answer["status"] != "ok":
        raise InputError("That request was refused; it has no answer.", "Give the id of an answer.")
    if answer["task"] in FINDS_PRODUCTS:
        if not given.product:
            raise InputError(f"product: a {given.kind} of an answer to {answer['task']} names one of its products.")
        place = next((place for place, (name, _) in enumerate(results, 1) if name == given.product), 0)
        if not place:
            raise InputError("product: the answer did not show it.", "Name a product by its id, as the answer did.")
        return place, None
    if given.kind != "category" or answer["task"] != "categorize":
        raise InputError(f"kind: an answer to {answer['task']} takes no {given.kind}.", "A category is told of an answer to categorize.")
    told, first = _levels(given.category), results[0][0] if results else ""
    return 0, int(bool(first) and f"{told}{SEPARATOR}".startswith(f"{first}{SEPARATOR}"))


def _again(row: Row[Any], given: Given) -> Taken:
    """What is kept, said again. Raises `ConflictError` when it is another thing."""
    same = row.product == given.product and row.category == _levels(given.category) and row.value == given.value
    if same:
        return Taken(row.id, False)
    kept = f"the category {row.category!r}" if row.kind == "category" else f"a {row.kind} of the value {row.value}"
    raise ConflictError(f"Of this answer {kept} was said already, and something else now.", f"What was said is {row.id}.")


def _happened(given: Given, answer: Mapping[str, Any], now: datetime) -> str:
    """When it happened, in UTC. Raises `InputError` for a time before the answer or in the future."""
    if not given.time:
        return now.isoformat(timespec="microseconds")
    try:
        time = moment(given.time)
    except (ValueError, OverflowError) as error:
        raise InputError("time: it is no ISO 8601 time.") from error
    if not moment(datetime.fromisoformat(answer["time"]) - AHEAD) <= time <= moment(now + AHEAD):
        raise InputError("time: it lies before the answer, or in the future.")
    return min(time, now.isoformat(timespec="microseconds"))


def _levels(category: str) -> str:
    """A category as answers write it."""
    return SEPARATOR.join(level for level in map(str.strip, category.split(SEPARATOR)) if level)


def _visitor(visitor: str, key: str, now: datetime) -> str:
    """Tells visitors of one day and key apart, and says nothing of who they are."""
    return sha256_bytes(f"{now:%Y-%m-%d}\0{key}\0{visitor}".encode())[:16] if visitor else ""
