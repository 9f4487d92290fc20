"""What feedback brings to the next version of a catalogue: which clicks and purchases become events, and which products a new category.

Nothing here reads or writes but the snapshot that is asked: pieces of feedback go in as `lineage.feedback.given` tells them. A category
is a label that models learn from, so one voice alone does not change it: `Rules` say how many must agree, and what they do not settle
waits for a person. A voice is a visitor where the shop tells its visitors apart, else a key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from catalogue.records import Row
from catalogue.snapshot import Snapshot
from goodsight.errors import RefusedError

Piece = Mapping[str, Any]
SEPARATOR = " > "
FEW_PRODUCTS = 10  # that may always change
TOLD = ("product", "kind", "query", "time", "created")  # what makes two events the same


@dataclass(frozen=True)
class Rules:
    """When feedback counts by itself."""

    agree: int = 2  # voices for a category
    share: float = 2 / 3  # of all voices on that product that are for it
    most_a_day: int = 1_000  # events of a kind that a product gets with one key
    most_changed: float = 0.05  # of the products of a catalogue that one import may relabel


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
    pieces: list[dict[str, str]]  # id and prediction of those for the category


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
    told = list(pieces)
    products = _Products(snapshot)
    left_out: Counter[str] = Counter()
    events = list(_events([each for each in told if each["kind"] != "category"], snapshot, products, rules, left_out))
    labels = _labels([each for each in told if each["kind"] == "category"], products, rules, accepted, left_out)
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


def _events(pieces: list[Piece], snapshot: Snapshot, products: _Products, rules: Rules, left_out: Counter[str]) -> Iterable[Row]:
    """The events that the snapshot does not have: those within the bounds, oldest first."""
    known = _known(snapshot, {each["product"] for each in pieces})
    seen: set[tuple[str, ...]] = set()
    counts: Counter[tuple[str, ...]] = Counter()
    for piece in pieces:
        day = piece["received"][:10]
        alone = (piece["visitor"], piece["product"], piece["kind"], day)
        with_key = (piece["key"], piece["product"], piece["kind"], day)
        if piece["product"] not in products.rows:
            left_out["the catalogue does not have the product"] += 1
        elif piece["visitor"] and alone in seen:
            left_out["the visitor did the same that day"] += 1
        elif counts[with_key] >= rules.most_a_day:
            left_out["the product had its share with that key that day"] += 1
        else:
            seen.add(alone)
            counts[with_key] += 1
            event = _event(piece)
            if _same(event) not in known:
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


def _known(snapshot: Snapshot, products: set[str]) -> set[tuple[Any, ...]]:
    """The events of these products that the snapshot has: what was imported before is not imported again."""
    table = snapshot.read("events", TOLD)
    rows = table.filter(pc.is_in(table["product"], pa.array(sorted(products), pa.string()))).to_pylist()
    return {tuple(row[name] for name in TOLD) for row in rows}


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
    """What the last word of each voice on a product comes to; of categories with as many voices that which was told last."""
    voices: dict[tuple[str, str], Piece] = {(piece["key"], piece["visitor"]): piece for piece in pieces}
    by_category: dict[str, list[Piece]] = defaultdict(list)
    for piece in sorted(voices.values(), key=lambda piece: piece["received"]):
        by_category[piece["category"]].append(piece)
    category, chosen = max(by_category.items(), key=lambda each: (len(each[1]), each[1][-1]["received"]))
    last = chosen[-1]["time"]
    state, why = _verdict(product, category, (len(chosen), len(voices)), last, products, rules)
    if state == "review" and accepted:
        state, why = "accepted", "a person says so"
    sources = [{"feedback": piece["id"], "prediction": piece["prediction"]} for piece in chosen]
    return Label(product, products.category(product), category, len(chosen), len(voices), state, why, last, sources)


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
