"""Feedback becomes events and labels of the next version: once, within bounds, with its source, and by people where voices disagree."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catalogue import versions
from catalogue.versions import describe, import_version, opened, resolve
from goodsight.errors import BusyError, GoodsightError, InputError, RefusedError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage.feedback_log import FeedbackLog, Given
from lineage.ledger import Ledger
from lineage.predictions import PredictionLog
from pipelines import feedback
from pipelines.command import app
from pipelines.feedback import import_feedback, planned
from pipelines.feedback_plan import Rules
from tests.catalogue.conftest import make_catalogue, media
from tests.catalogue.made import PRODUCTS, Make, product
from tests.lineage.test_predictions import made
from tests.pipelines.watched import promoted

__all__ = ["make_catalogue", "media"]
CHAIRS, TABLES = "Furniture > Chairs", "Furniture > Tables"


class Shop:
    """A catalogue of twelve products that is served, and what people say of its answers."""

    def __init__(self, home: Path) -> None:
        self.home, self.url = home, settings().predictions_url
        self.answers, self.said = PredictionLog(self.url), FeedbackLog(self.url)

    def answer(self, task: str = "search", **changes: Any) -> str:
        results = [(f"p{index}", 0.5) for index in range(PRODUCTS)] if task == "search" else [(TABLES, 0.9)]
        row = made(task=task, results=results, **changes)
        self.answers.log(row)
        assert self.answers.flush()
        return row.id

    def click(self, product: str, kind: Any = "click", key: str = "shop", **more: Any) -> str:
        return self.said.give(Given(self.answer(), kind, product, **more), key).id

    def correct(self, product: str, category: str, key: str, visitor: str = "") -> str:
        return self.said.give(Given(self.answer("categorize"), "category", product, category, visitor=visitor), key).id

    def events(self) -> list[dict[str, Any]]:
        with opened("shop", self.home) as (snapshot, _):
            return snapshot.read("events").to_pylist()

    def products(self) -> dict[str, dict[str, Any]]:
        with opened("shop", self.home) as (snapshot, _):
            return {row["id"]: row for row in snapshot.products().to_pylist()}


@pytest.fixture
def catalogue(make_catalogue: Make) -> Path:
    return make_catalogue()


@pytest.fixture
def shop(_home: Path, catalogue: Path) -> Shop:
    import_version(catalogue, "shop", _home)
    return Shop(_home)


def call(*arguments: str) -> Any:
    """What the command prints as JSON; its errors are raised."""
    done = CliRunner().invoke(app, ["feedback", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output.splitlines()[-1])


def test_clicks_and_purchases_are_events_of_the_next_version_once(shop: Shop) -> None:
    first = resolve("shop", shop.home)
    click, buy = shop.click("p1", query="red chair"), shop.click("p2", "purchase", value=19.5)
    done = import_feedback("shop", shop.home, "Ada")
    assert done.revision == resolve("shop", shop.home) != first and done.made.left_out == {}
    told = [(each["product"], each["kind"], each["value"], each["query"], each["problems"]) for each in shop.events()]
    assert told == [("p1", "click", None, "red chair", []), ("p2", "purchase", 19.5, "", [])]
    assert all(each["created"] >= each["time"] > datetime.now(UTC) - timedelta(minutes=5) for each in shop.events())
    again = import_feedback("shop", shop.home, "Ada")
    assert again.revision == done.revision and again.made.events == [] and again.record is None
    shop.click("p1")
    import_feedback("shop", shop.home, "Ada")
    assert len(shop.events()) == 3
    assert done.record
    kept = read_json(done.record)
    assert [each["feedback"] for each in kept["events"]] == [click, buy] and all(each["prediction"] for each in kept["events"])
    event = next(each for each in Ledger(settings().ledger_url).events("snapshot") if each.payload["revision"] == done.revision)
    assert (event.actor, event.payload["how"], event.payload["feedback"]["events"]) == ("Ada", "feedback", 2)
    assert event.payload["feedback"]["record"] == done.record.name and event.payload["parent"] == describe(first, shop.home)["digest"]


def test_a_category_that_voices_agree_on_is_a_label_and_nothing_else_changes(shop: Shop) -> None:
    before = shop.products()
    pieces = [shop.correct("p2", CHAIRS, "shop"), shop.correct("p2", CHAIRS, "desk")]
    shop.correct("p3", TABLES, "shop")
    shop.correct("p4", TABLES, "shop")  # as it is
    done = import_feedback("shop", shop.home, "Ada")
    after = shop.products()
    assert after["p2"]["category_path"] == ["Furniture", "Chairs"] and after["p2"]["updated"] is not None
    told = ("category_path", "updated", "line")
    assert {name: value for name, value in after["p2"].items() if name not in told} == {
        name: value for name, value in before["p2"].items() if name not in told
    }
    assert {id: row for id, row in after.items() if id != "p2"} == {id: row for id, row in before.items() if id != "p2"}
    [waiting] = [label for label in done.made.labels if label.state == "review"]
    assert (waiting.product, waiting.was, waiting.category, waiting.why) == ("p3", CHAIRS, TABLES, "fewer than 2 voices say so")
    assert done.record
    [label] = read_json(done.record)["labels"]
    assert [each["feedback"] for each in label["pieces"]] == pieces and (label["was"], label["state"]) == (TABLES, "ready")


def test_what_voices_do_not_settle_waits_for_a_person(shop: Shop) -> None:
    for key, category in (("a", CHAIRS), ("b", CHAIRS), ("c", "Furniture > Desks"), ("d", "Furniture > Desks"), ("d", "Furniture > Desks")):
        shop.correct("p2", category, key)
    shop.correct("p4", "Furniture > Beds", "a", "ann")
    shop.correct("p4", "Furniture > Beds", "a", "bob")
    shop.correct("p6", CHAIRS, "a")
    shop.correct("p6", CHAIRS, "a")
    shop.correct("p-none", CHAIRS, "a")
    shop.said.give(Given(shop.answer("categorize"), "category", category=CHAIRS), "a")
    made, _ = planned("shop", shop.home)
    assert {label.product: label.why for label in made.labels} == {
        "p2": "no product of the catalogue is in this category",
        "p4": "no product of the catalogue is in this category",
        "p6": "fewer than 2 voices say so",
    }
    assert made.left_out == {"the catalogue does not have the product": 1, "the category is of no product of the catalogue": 1}
    assert made.changes == [] and import_feedback("shop", shop.home, "Ada").revision == resolve("shop", shop.home)
    with pytest.raises(InputError, match="--reason"):
        import_feedback("shop", shop.home, "Ada", accepted=["p6"])
    with pytest.raises(InputError, match="'p1'"):
        import_feedback("shop", shop.home, "Ada", accepted=["p1"], reason="seen")
    done = import_feedback("shop", shop.home, "Ada", accepted=["p4", "p6"], reason="seen in the shop")
    assert [label.product for label in done.made.changes] == ["p4", "p6"]
    assert [shop.products()[id]["category_path"][1] for id in ("p2", "p4", "p6")] == ["Tables", "Beds", "Chairs"]
    event = list(Ledger(settings().ledger_url).events("snapshot"))[-1]
    assert (event.payload["reason"], event.payload["feedback"]["labels"]) == ("seen in the shop", 2)


def test_disagreeing_voices_wait_and_the_last_word_of_each_counts(shop: Shop) -> None:
    for key, category in (("a", TABLES), ("b", TABLES), ("c", CHAIRS), ("d", CHAIRS)):
        shop.correct("p2", category, key)
    [label] = planned("shop", shop.home)[0].labels
    assert (label.voices, label.of, label.state, label.why) == (2, 4, "review", "voices disagree")
    shop.correct("p2", CHAIRS, "a")
    [label] = planned("shop", shop.home)[0].labels
    assert (label.voices, label.of, label.state) == (3, 4, "ready")


def test_a_catalogue_that_knows_better_is_not_overruled(make_catalogue: Make, _home: Path) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    odd = [product(0) | {"updated": later}, product(2) | {"price": "much"}, product(4), product(4), product(6), product(8)]
    folder = make_catalogue(odd, [])
    (folder / "categories.txt").write_text(f"{CHAIRS}\n{TABLES}\n")
    import_version(folder, "shop", _home)
    shop = Shop(_home)
    for id in ("p0", "p2", "p4", "p6"):
        for key in ("a", "b"):
            shop.correct(id, CHAIRS if id != "p6" else "Furniture > Beds", key)
    made, _ = planned("shop", shop.home)
    assert {label.product: (label.state, label.why.partition(":")[0]) for label in made.labels} == {
        "p0": ("refused", "the catalogue changed the product since"),
        "p2": ("refused", "its record has faults or was released by a person"),
        "p4": ("refused", "its record has faults or was released by a person"),
        "p6": ("refused", "categories.txt of the catalogue does not have this category"),
    }
    with pytest.raises(InputError, match="cannot be taken"):
        import_feedback("shop", shop.home, "Ada", accepted=["p6"], reason="seen")


def test_one_visitor_and_one_key_count_within_bounds(shop: Shop) -> None:
    for _ in range(3):
        shop.click("p1", visitor="ann")
    shop.click("p1", visitor="bob")
    for _ in range(4):
        shop.click("p2")
    shop.click("p3", key="other")
    rules = Rules(most_a_day=3)
    made = import_feedback("shop", shop.home, "Ada", rules).made
    assert sorted(event["product"] for event in made.events) == ["p1", "p1", "p2", "p2", "p2", "p3"]
    assert made.left_out == {"the product had its share with that key that day": 1, "the visitor did the same that day": 2}
    assert import_feedback("shop", shop.home, "Ada", rules).made.events == [] and len(shop.events()) == 6


def test_what_is_older_than_a_year_counts_no_more(shop: Shop) -> None:
    """Days are whole: what was over the bound of the first day stays out."""
    ids = [shop.click(product, visitor="ann") for product in ("p1", "p1", "p2")] + [shop.correct("p4", CHAIRS, key) for key in ("a", "b")]
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=Rules().days)
    moments = dict(zip(ids, [day, day + timedelta(hours=23), day - timedelta(microseconds=1)], strict=False))
    moments[ids[3]] = day - timedelta(hours=1)
    with contextlib.closing(sqlite3.connect(shop.url.removeprefix("sqlite:///"))) as connection, connection:
        for id, moment in moments.items():
            time = moment.isoformat(timespec="microseconds")
            connection.execute("UPDATE feedback SET received = ?, time = ? WHERE id = ?", (time, time, id))
    made, _ = planned("shop", shop.home)
    assert [each["feedback"] for each in made.events] == ids[:1] and made.left_out == {"the visitor did the same that day": 1}
    assert [(label.product, label.voices, label.of) for label in made.labels] == [("p4", 1, 1)]
    older, _ = planned("shop", shop.home, Rules(days=366))
    assert [each["feedback"] for each in older.events] == [ids[0], ids[2]] and [label.state for label in older.labels] == ["ready"]
    assert len(import_feedback("shop", shop.home, "Ada").made.events) == 1
    assert import_feedback("shop", shop.home, "Ada").made.events == []


def test_a_campaign_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.feedback_plan.FEW_PRODUCTS", 2)
    for id in ("p0", "p2", "p4"):
        for key in ("a", "b"):
            shop.correct(id, CHAIRS, key)
    before = resolve("shop", shop.home)
    with pytest.raises(RefusedError, match="relabel 3 of 12 products; at most 2"):
        import_feedback("shop", shop.home, "Ada")
    assert resolve("shop", shop.home) == before
    shop.said.withdraw("one script", "Ada", key="b")
    assert import_feedback("shop", shop.home, "Ada").revision == before, "now nobody is seconded"
    assert import_feedback("shop", shop.home, "Ada", Rules(agree=1, most_changed=0.5)).revision != before


def test_stopped_anywhere_it_is_told_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.click("p1")
    before = resolve("shop", shop.home)

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    for place in ("import_update", "store", "sha256_file"):  # the last one is asked for what the ledger is told
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(feedback, place, stopped)
            import_feedback("shop", shop.home, "Ada")
        assert (resolve("shop", shop.home) == before) is (place != "sha256_file")
    assert "feedback" not in [event.payload["how"] for event in Ledger(settings().ledger_url).events("snapshot")]
    done = import_feedback("shop", shop.home, "Ada")
    assert done.made.events == [] and len(shop.events()) == 1, "the version was there already"
    assert done.record and [event.payload["how"] for event in Ledger(settings().ledger_url).events("snapshot")] == ["feedback"]
    assert import_feedback("shop", shop.home, "Ada").record is None


def test_a_version_whose_import_was_killed_is_told_though_more_feedback_came(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.click("p1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(feedback, "sha256_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        import_feedback("shop", shop.home, "Ada")
    killed = resolve("shop", shop.home)
    shop.click("p2")
    done = import_feedback("shop", shop.home, "Bob")
    told = [(event.payload["revision"], event.actor) for event in Ledger(settings().ledger_url).events("snapshot")]
    assert told == [(killed, "Ada"), (done.revision, "Bob")]


def test_a_version_that_came_meanwhile_is_not_lost(shop: Shop, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.correct("p2", CHAIRS, "a")
    shop.correct("p2", CHAIRS, "b")
    (catalogue / "products.jsonl").write_text(json.dumps(product(2) | {"title": "A new title", "images": []}) + "\n")
    (catalogue / "queries_text.jsonl").unlink()
    original = versions.store

    def later(*given: Any) -> str:
        import_version(catalogue, "shop", shop.home, update=True)
        return original(*given)

    with monkeypatch.context() as patch, pytest.raises(BusyError):
        patch.setattr(feedback, "store", later)
        import_feedback("shop", shop.home, "Ada")
    import_feedback("shop", shop.home, "Ada")
    changed = shop.products()["p2"]
    assert (changed["title"], changed["images"], changed["category_path"]) == ("A new title", [], ["Furniture", "Chairs"])


def test_a_catalogue_that_is_imported_anew_gets_back_what_counts(shop: Shop, catalogue: Path) -> None:
    piece = shop.click("p1")
    shop.click("p2")
    for key in ("a", "b"):
        shop.correct("p4", CHAIRS, key)
    import_feedback("shop", shop.home, "Ada")
    shop.said.withdraw("a script", "Ada", [piece])
    (catalogue / "products.jsonl").write_text("".join(json.dumps(product(index)) + "\n" for index in range(PRODUCTS - 1)))
    import_version(catalogue, "shop", shop.home)
    assert shop.events() == []
    import_feedback("shop", shop.home, "Ada")
    assert [event["product"] for event in shop.events()] == ["p2"] and shop.products()["p4"]["category_path"][1] == "Chairs"


def test_without_a_name_it_is_the_catalogue_of_the_champion(shop: Shop, catalogue: Path) -> None:
    import_version(catalogue, "newer", shop.home)
    with pytest.raises(InputError, match="No model serves yet"):
        import_feedback("", shop.home, "Ada")
    promoted(resolve("newer", shop.home))
    promoted(resolve("shop", shop.home), "2", "d" * 64)
    shop.click("p1")
    assert call("show")["events"] == {"click": 1}
    before = resolve("newer", shop.home)
    assert call("import")["revision"] == resolve("shop", shop.home) and len(shop.events()) == 1
    assert resolve("newer", shop.home) == before


def test_the_commands_say_what_is_and_do_it(shop: Shop) -> None:
    bot, right = shop.click("p1", key="bot"), shop.click("p2", "purchase", value=19.5)
    shop.correct("p4", CHAIRS, "a")
    assert [each["id"] for each in call("list")][:2] == [bot, right] and len(call("list", "--kind", "purchase", "-n", "1")) == 1
    [day] = call("figures")
    assert (day["clicks"], day["purchases"], day["judged"], day["correct"]) == (1, 1, 1, 0)
    done = CliRunner().invoke(app, ["feedback", "withdraw", "--key", "bot", "--reason", "a script", "--by", "Ada"], catch_exceptions=False)
    assert done.output == "1 piece of feedback counts no more.\n"
    assert len(call("list")) == 2 and len(call("list", "--withdrawn")) == 3
    shown = call("show", "shop")
    assert shown["events"] == {"purchase": 1} and [label["state"] for label in shown["labels"]] == ["review"]
    imported = call("import", "shop", "--accept", "p4", "--reason", "seen", "--by", "Ada")
    assert imported["revision"] == resolve("shop", shop.home) != shown["revision"] and Path(imported["record"]).is_file()
    for arguments in (["list"], ["figures"], ["show", "shop"], ["import", "shop"]):
        told = CliRunner().invoke(app, ["feedback", *arguments], catch_exceptions=False)
        assert told.exit_code == 0 and told.output, arguments
    assert "has all feedback that counts" in told.output
    withdraw = ["withdraw", "--reason", "z"]
    for wrong in (["show", "none"], ["show", shown["revision"]], [*withdraw, "x", "--key", "y"], withdraw):
        with pytest.raises(GoodsightError):
            CliRunner().invoke(app, ["feedback", *wrong], catch_exceptions=False)
