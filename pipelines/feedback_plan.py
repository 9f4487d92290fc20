"""What feedback brings to the next version of a catalogue: which clicks and purchases become events, and which products a new category.

Nothing here reads or writes but the snapshot that is asked: pieces of feedback go in as `lineage.feedback.stream` tells them. A category
is a label that models learn from, so one voice alone does not change it: `Rules` say how many must agree, and what they do not settle
waits for a person. A voice is a visitor where the shop tells its visitors apart, else a key. Who comes again on another day cannot be
told from somebody else, and so is no second voice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogue.records import Row
from catalogue.snapshot import Snapshot
from goodsight.errors import RefusedError

Piece = Mapping[str, Any]
SEPARATOR = " > "
FEW_PRODUCTS = 10  # that may always change
DAYS = 2  # that are held: at midnight pieces of both may come in turns
TOLD = ("product", "kind", "query", "time", "created")  # what makes two events the same


@dataclass(frozen=True)
class Rules:
    """When feedback counts by itself."""

    agree: int = 2  # voices for a category
    share: float = 2 / 3  # of all voices on that product that are for it
    most_a_day: int = 1_000  # events of a kind that a product gets with one key
    most_changed: float = 0.05  # of the products of a catalogue that one import may relabel
    days: int = 365  # before today whose feedback still counts


@dataclass(frozen=True)
class Label:
    """A product's category as voices have it. `state`: ready, accepted (by a person), review, or refused; `why` says it in words."""

    product: str
    was: str
    category: str
    voices: int
    of: int
    state: str
    why: str
    last: str  # time of the last piece
    pieces: list[dict[str, str]]  # id and prediction of those for the category, which may be more than voices


@dataclass(frozen=True)
class Plan:
    """Events to add, each with the piece that it is from, labels, and how many pieces are left out for which reason."""

    events: list[Row] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def changes(self) -> list[Label]:
        return [label for label in self.labels if label.state in ("ready", "accepted")]


def plan(pieces: Iterable[Piece], snapshot: Snapshot, rules: Rules = Rules(), accepted: Collection[str] = ()) -> Plan:
    """What the pieces, oldest first, bring to a snapshot; of the products `accepted` a person says that the voices are right."""
    products = _Products(snapshot)
    left_out: Counter[str] = Counter()
    categories: list[Piece] = []
    events = list(_events(_apart(pieces, categories), snapshot, products, rules, left_out))
    labels = _labels(categories, products, rules, accepted, left_out)
    return Plan(events, labels, dict(sorted(left_out.items())))


def check_size(made: Plan, products: int, rules: Rules) -> None:
    """Raises `RefusedError` when an import would relabel more of a catalogue than `rules` allow: that is a campaign, or a new catalogue."""
    most = max(FEW_PRODUCTS, int(rules.most_changed * products))
    if len(made.changes) > most:
        message = f"Feedback would relabel {len(made.changes):,} of {products:,} products; at most {most:,} may change at once."
        raise RefusedError(message, "Look at `goodsight feedback show`; withdraw what is wrong, or allow more with --most-changed.")


class _Products:
    """What is asked of the products of a snapshot, by id."""

    def __init__(self, snapshot: Snapshot) -> None:
        table = snapshot.products(["id", "category_path", "updated", "problems"])
        rows = table.to_pylist()
        self.rows = {row["id"]: row for row in rows}
        count = Counter(row["id"] for row in rows)
        released = {row["id"] for row in snapshot.read("releases", ["kind", "id"]).to_pylist() if row["kind"] == "product"}
        self.odd = {id for id, row in self.rows.items() if row["problems"] or count[id] > 1 or id in released}
        allowed = snapshot.manifest["categories"]
        self.closed = allowed is not None
        self.categories = set(allowed) if allowed is not None else {SEPARATOR.join(row["category_path"]) for row in rows}

    def category(self, id: str) -> str:
        return SEPARATOR.join(self.rows[id]["category_path"])


def _apart(pieces: Iterable[Piece], categories: list[Piece]) -> Iterator[Piece]:
    """Hands clicks and purchases on, one after the other, and keeps categories, which are few."""
    for piece in pieces:
        if piece["kind"] == "category":
            categories.append(piece)
        else:
            yield piece


@dataclass
class _Day:
    """Events of a day: those that the snapshot has, who did what, and how often it was done with which key."""

    known: set[tuple[Any, ...]]
    seen: set[tuple[str, ...]] = field(default_factory=set)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)


def _events(pieces: Iterable[Piece], snapshot: Snapshot, products: _Products, rules: Rules, left_out: Counter[str]) -> Iterable[Row]:
    """The events that the snapshot does not have: those within the bounds, oldest first. The last days are held, and no more."""
    table = snapshot.read("events", TOLD)
    days = lru_cache(maxsize=DAYS)(lambda day: _Day(_known(table, day)))
    for piece in pieces:
        event = _event(piece)
        day = days(event["created"][:10])
        alone = (piece["visitor"], piece["product"], piece["kind"])
        with_key = (piece["key"], piece["product"], piece["kind"])
        if piece["product"] not in products.rows:
            left_out["the catalogue does not have the product"] += 1
        elif piece["visitor"] and alone in day.seen:
            left_out["the visitor did the same that day"] += 1
        elif day.counts[with_key] >= rules.most_a_day:
            left_out["the product had its share with that key that day"] += 1
        else:
            day.seen.add(alone)
            day.counts[with_key] += 1
            if _same(event) not in day.known:
                yield event


def _event(piece: Piece) -> Row:
    """The record of an event, with the piece and the answer that it is from, which an import does not read."""
    told = {"product": piece["product"], "kind": piece["kind"], "value": piece["value"], "query": piece["query"]}
    return told | {"time": piece["time"], "created": max(piece["received"], piece["time"])} | _source(piece)


def _source(piece: Piece) -> dict[str, str]:
    return {"feedback": piece["id"], "prediction": piece["prediction"]}


def _same(event: Row) -> tuple[Any, ...]:
    times = (datetime.fromisoformat(event[name]).astimezone(UTC) for name in ("time", "created"))
    return (event["product"], event["kind"], event["query"], *times)


def _known(events: pa.Table, day: str) -> set[tuple[Any, ...]]:
    """The events of a day that a snapshot has: what was imported before is not imported again."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
    of_day = pc.and_(pc.greater_equal(events["created"], begin), pc.less(events["created"], begin + timedelta(days=1)))
    return {tuple(row[name] for name in TOLD) for row in events.filter(of_day).to_pylist()}


def _labels(
    pieces: list[Piece], products: _Products, rules: Rules, accepted: Collection[str], left_out: Counter[str]
) -> list[Label]:
    by_product: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        if not piece["product"]:
            left_out["the category is of no product of the catalogue"] += 1
        elif piece["product"] not in products.rows:
            left_out["the catalogue does not have the product"] += 1
        else:
            by_product[piece["product"]].append(piece)
    labels = [_label(product, by_product[product], products, rules, product in accepted) for product in sorted(by_product)]
    return [label for label in labels if label.category != label.was]


def _label(product: str, pieces: list[Piece], products: _Products, rules: Rules, accepted: bool) -> Label:
    """What the last words on a product come to; of categories with as many voices that which was told last."""
    by_category: dict[str, list[Piece]] = defaultdict(list)
    for piece in _last_words(pieces):
        by_category[piece["category"]].append(piece)
    voices = {category: _voices(words) for category, words in by_category.items()}
    category, chosen = max(by_category.items(), key=lambda each: (voices[each[0]], each[1][-1]["received"]))
    last, votes = chosen[-1]["time"], (voices[category], sum(voices.values()))
    state, why = _verdict(product, category, votes, last, products, rules)
    if state == "review" and accepted:
        state, why = "accepted", "a person says so"
    sources = [{"feedback": piece["id"], "prediction": piece["prediction"]} for piece in chosen]
    return Label(product, products.category(product), category, *votes, state, why, last, sources)


def _last_words(pieces: list[Piece]) -> list[Piece]:
    """The last word of each visitor on each day, and with each key of those who are not told apart; the oldest first."""
    words = {(piece["key"], piece["visitor"], _day_of_visitor(piece)): piece for piece in pieces}
    return sorted(words.values(), key=lambda piece: piece["received"])


def _voices(words: list[Piece]) -> int:
    """How many people these last words are of, at least: with each key those of the day that has the most, as on another day the same
    may come again; and one more who is not told apart."""
    counts = Counter((piece["key"], _day_of_visitor(piece)) for piece in words)
    most: dict[tuple[str, bool], int] = {}
    for (key, day), count in counts.items():
        most[key, bool(day)] = max(count, most.get((key, bool(day)), 0))
    return sum(most.values())


def _day_of_visitor(piece: Piece) -> str:
    """The day on which its visitor is told from others (`lineage.feedback_log` makes the digest by it); empty without one."""
    return str(piece["received"][:10]) if piece["visitor"] else ""


def _verdict(product: str, category: str, votes: tuple[int, int], last: str, products: _Products, rules: Rules) -> tuple[str, str]:
    """State and reason."""
    updated = products.rows[product]["updated"]
    if product in products.odd:
        return "refused", "its record has faults or was released by a person: correct it in the catalogue"
    if products.closed and category not in products.categories:
        return "refused", "categories.txt of the catalogue does not have this category"
    if updated is not None and updated > datetime.fromisoformat(last):
        return "refused", "the catalogue changed the product since"
    if category not in products.categories:
        return "review", "no product of the catalogue is in this category"
    if votes[0] < rules.agree:
        return "review", f"fewer than {rules.agree} voices say so"
    if votes[0] / votes[1] < rules.share:
        return "review", "voices disagree"
    return "ready", "enough voices agree"
