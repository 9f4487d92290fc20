"""Whatever feedback comes, and however often and in whatever parts it is imported, each piece is an event once and bounds hold."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
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


@given(PIECES, st.integers(1, 3))
@settings(max_examples=50)
def test_no_label_changes_by_itself_without_enough_voices(parent: Snapshot, pieces: list[dict[str, Any]], agree: int) -> None:
    made = plan(pieces, parent, Rules(agree=agree))
    for label in made.labels:
        about = [each for each in pieces if each["product"] == label.product and each["category"]]
        said = {(each["key"], each["visitor"]): each["category"] for each in about}
        votes = Counter(said.values())
        assert (label.voices, label.of) == (votes[label.category], len(said)) and label.voices == max(votes.values())
        assert label.was != label.category and len(label.pieces) == label.voices
        enough = label.voices >= agree and label.voices / label.of >= 2 / 3
        assert (label.state == "ready") is (enough and label.category != CATEGORIES[2]), "nothing is in Beds yet"
    assert made.changes == [label for label in made.labels if label.state == "ready"]


def test_the_size_of_an_import_is_bounded_by_the_catalogue() -> None:
    label = Label("p", "a", "b", 2, 2, "ready", "", "", [])
    for changes, products, fits in ((10, 12, True), (11, 12, False), (50, 1_000, True), (51, 1_000, False)):
        made = Plan(labels=[label] * changes)
        if fits:
            check_size(made, products, Rules())
        else:
            with pytest.raises(Exception, match=f"relabel {changes}"):
                check_size(made, products, Rules())
