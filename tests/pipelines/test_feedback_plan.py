"""Whatever feedback comes, and however often and in whatever parts it is imported, each piece is an event once and bounds hold."""

from __future__ import annotations

import itertools
import json
import tempfile
import weakref
from collections import Counter, UserDict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from catalogue.update import import_update
from lineage.predictions import new_id
from pipelines.feedback_plan import Label, Plan, Rules, check_size, plan
from tests.catalogue.made import product

RULES = Rules(most_a_day=2)
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
IDS = ("p0", "p1", "p2", "p-none")
CATEGORIES = ("Furniture > Chairs", "Furniture > Tables", "Furniture > Beds")


def piece(at: int, kind: str, product: str, key: str, visitor: str, category: str) -> dict[str, Any]:
    """The piece that came as number `at`, eight hours after the one before."""
    time = (BEGIN + timedelta(hours=8 * at)).isoformat(timespec="microseconds")
    return {
        "id": new_id(), "prediction": new_id(), "kind": kind, "product": product, "category": category if kind == "category" else "",
        "value": None, "query": "", "time": time, "received": time, "key": key, "visitor": visitor,
    }  # fmt: skip


SAID = st.lists(
    st.tuples(
        st.sampled_from(["click", "purchase", "category"]), st.sampled_from(IDS), st.sampled_from(["a", "b"]),
        st.sampled_from(["", "ann", "bob"]), st.sampled_from(CATEGORIES),
    ),
    max_size=30,
)  # fmt: skip
PIECES = SAID.map(lambda said: [piece(at, *each) for at, each in enumerate(said)])


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("catalogue")
    media = ("images", "video", "audio")
    bare = [{name: value for name, value in product(at).items() if name not in media} for at in range(3)]
    (folder / "products.jsonl").write_text("".join(json.dumps(each) + "\n" for each in bare))
    import_catalogue(folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def imported(snapshot: Snapshot, made: Plan, folder: Path) -> Snapshot:
    """The snapshot with the events of a plan."""
    if not made.events:
        return snapshot
    (folder / "changes").mkdir(parents=True)
    (folder / "changes" / "products.jsonl").touch()
    (folder / "changes" / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in made.events))
    import_update(folder / "changes", snapshot.folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def events(snapshot: Snapshot) -> Counter[tuple[Any, ...]]:
    return Counter((each["product"], each["kind"], each["time"]) for each in snapshot.read("events").to_pylist())


@given(PIECES, st.integers(0, 30))
@settings(max_examples=20)
def test_in_parts_or_at_once_each_piece_is_an_event_once(parent: Snapshot, pieces: list[dict[str, Any]], part: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        some = imported(parent, plan(pieces[:part], parent, RULES), folder / "some")
        all_of_them = imported(some, plan(pieces, some, RULES), folder / "all")
        at_once = imported(parent, plan(pieces, parent, RULES), folder / "once")
        found = events(all_of_them)
        assert found == events(at_once) and set(found.values()) <= {1}
        assert plan(pieces, all_of_them, RULES).events == []
    days = Counter((product, kind, f"{time:%F}") for product, kind, time in found)
    assert all(count <= 2 * RULES.most_a_day for count in days.values()), "two keys, each with its share"
    assert all(product != "p-none" for product, *_ in found)


def voices(words: dict[tuple[str, str, str], dict[str, Any]]) -> Counter[str]:
    """By category, of last words by key, visitor and day: the sum over keys of the most visitors of a day, and of a word without."""
    votes: Counter[str] = Counter()
    for category, key in itertools.product(CATEGORIES, {key for key, *_ in words}):
        days = [day for (by, _, day), each in words.items() if by == key and each["category"] == category]
        votes[category] += max((days.count(day) for day in days if day), default=0) + days.count("")
    return +votes


@given(PIECES, st.integers(1, 3))
@settings(max_examples=50)
def test_no_label_changes_by_itself_without_enough_voices(parent: Snapshot, pieces: list[dict[str, Any]], agree: int) -> None:
    made = plan(pieces, parent, Rules(agree=agree))
    for label in made.labels:
        about = [each for each in pieces if each["product"] == label.product and each["category"]]
        words = {(each["key"], each["visitor"], each["received"][:10] if each["visitor"] else ""): each for each in about}
        votes = voices(words)
        assert (label.voices, label.of) == (votes[label.category], sum(votes.values())) and label.voices == max(votes.values())
        said = {each["id"] for each in words.values() if each["category"] == label.category}
        assert label.was != label.category and {each["feedback"] for each in label.pieces} == said
        enough = label.voices >= agree and label.voices / label.of >= 2 / 3
        assert (label.state == "ready") is (enough and label.category != CATEGORIES[2]), "nothing is in Beds yet"
    assert made.changes == [label for label in made.labels if label.state == "ready"]


def test_a_visitor_of_two_days_is_one_voice(parent: Snapshot) -> None:
    """The digest of a visitor is another one every day."""
    other, is_ = CATEGORIES[:2]
    days = [piece(0, "category", "p0", "shop", "ann-1", other), piece(3, "category", "p0", "shop", "ann-2", other)]
    [label] = plan(days, parent).labels
    assert (label.voices, label.of, label.state, label.why) == (1, 1, "review", "fewer than 2 voices say so")
    assert len(label.pieces) == 2 and label.last == days[1]["time"]
    [label] = plan([*days, piece(4, "category", "p0", "shop", "bob-2", other)], parent).labels
    assert (label.voices, label.of, label.state) == (2, 2, "ready"), "these two came on one day"
    [label] = plan([*days, piece(4, "category", "p0", "desk", "bob-2", other)], parent).labels
    assert (label.voices, label.of, label.state) == (2, 2, "ready"), "each key has its own visitors"
    [label] = plan([*days, piece(4, "category", "p0", "shop", "ann-2", is_), piece(5, "category", "p0", "", "", other)], parent).labels
    assert (label.voices, label.of, len(label.pieces)) == (2, 3, 2), "only the last word of a day counts"


def test_pieces_are_not_held(parent: Snapshot) -> None:
    """Of a thousand days' clicks that are left out anyway no more than a few are there at once."""
    there: weakref.WeakSet[Held] = weakref.WeakSet()
    most = 0

    def pieces() -> Iterator[Held]:
        nonlocal most
        for at in range(0, 3_000, 3):
            each = Held(piece(at, "click", "p-none", "a", "ann", ""))
            there.add(each)
            most = max(most, len(there))
            yield each

    assert plan(pieces(), parent).left_out == {"the catalogue does not have the product": 1_000}
    assert most < 10


class Held(UserDict[str, Any]):
    """A piece that can be watched."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_the_size_of_an_import_is_bounded_by_the_catalogue() -> None:
    label = Label("p", "a", "b", 2, 2, "ready", "", "", [])
    for changes, products, fits in ((10, 12, True), (11, 12, False), (50, 1_000, True), (51, 1_000, False)):
        made = Plan(labels=[label] * changes)
        if fits:
            check_size(made, products, Rules())
        else:
            with pytest.raises(Exception, match=f"relabel {changes}"):
                check_size(made, products, Rules())
