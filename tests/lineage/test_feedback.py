"""Feedback is kept once, within its limits, of answers that can have it, and the figures are what was said."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from goodsight.errors import BusyError, ConflictError, GoodsightError, InputError, NotFoundError
from lineage import feedback
from lineage.feedback import FIGURES, by_day, clicked, figures, given, of_prediction, stream
from lineage.feedback_log import FeedbackLog, Given, Limits
from lineage.predictions import Prediction, PredictionLog, new_id, now
from tests.lineage.test_predictions import LAMP, SOFA, made, url

ALWAYS = ("2000-01-01", "2100-01-01")
PRODUCTS = ("a", "b", "c", "d")
UNSAID = dict.fromkeys(FIGURES, 0)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return url(tmp_path / "log.db")


def logged(database: str, *rows: Prediction) -> list[str]:
    """Logs answers and returns their ids."""
    log = PredictionLog(database)
    for row in rows:
        log.log(row)
    assert log.flush()
    return [row.id for row in rows]


def categorized(first: str = "Seating", **changes: Any) -> Prediction:
    return made(task="categorize", results=[(first, 0.8), ("Beds", 0.2)], **changes)


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat(timespec="milliseconds")


def test_what_is_said_twice_is_kept_once(database: str) -> None:
    [search] = logged(database, made())
    log = FeedbackLog(database)
    first = log.give(Given(search, "click", SOFA, visitor="ann", query=" red sofa "), "shop")
    assert first.new and log.give(Given(search.upper(), "click", SOFA), "other").id == first.id
    assert log.give(Given(search, "purchase", SOFA, value=9.5)).new and log.give(Given(search, "click", LAMP)).new
    kept = of_prediction(database, search)
    told = [(each["kind"], each["product"], each["place"]) for each in kept]
    assert told == [("click", SOFA, 1), ("purchase", SOFA, 1), ("click", LAMP, 2)]
    assert (kept[0]["key"], kept[0]["query"], kept[0]["model_version"], kept[0]["id"]) == ("shop", "red sofa", "7", first.id)
    assert kept == given(database) and given(database, newest=1) == kept[2:] and given(database, kinds=("purchase",)) == kept[1:2]
    assert given(database, since=ago(hours=-1)) == []
    with pytest.raises(ConflictError, match=f"value 9.5(.|\n)*{kept[1]['id']}"):
        log.give(Given(search, "purchase", SOFA, value=3.0))


def test_visitors_are_told_apart_and_not_known(database: str, tmp_path: Path) -> None:
    ids = logged(database, made(), made(), made())
    log = FeedbackLog(database)
    for id, visitor, key in zip(ids, ("ann@example.com", "ann@example.com", "ann@example.com"), ("shop", "shop", "other"), strict=True):
        log.give(Given(id, "click", SOFA, visitor=visitor), key)
    one, again, elsewhere = (each["visitor"] for each in given(database))
    assert one == again != elsewhere
    assert all(b"ann@" not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "said", "error"),
    [
        (made(), {"kind": "click", "product": "shelf-1"}, "product: the answer did not show it"),
        (made(), {"kind": "click"}, "product: a click of an answer to search names one"),
        (made(results=[]), {"kind": "click", "product": SOFA}, "did not show it"),
        (made(task="embed", results=[]), {"kind": "click", "product": SOFA}, "an answer to embed takes no click"),
        (made(status="refused"), {"kind": "click", "product": SOFA}, "that request was refused"),
        (categorized(), {"kind": "purchase", "product": SOFA}, "an answer to categorize takes no purchase"),
        (made(time=ago(days=91)), {"kind": "click", "product": SOFA}, "older than 90 days"),
        (made(), {"kind": "click", "product": SOFA, "time": ago(hours=1)}, "time: it lies before the answer"),
        (made(), {"kind": "click", "product": SOFA, "time": ago(hours=-1)}, "or in the future"),
        (made(), {"kind": "click", "product": SOFA, "time": "0001-01-01T00:00:00+14:00"}, "time: it is no"),
    ],
)
def test_an_answer_takes_what_it_can_have(database: str, answer: Prediction, said: dict[str, Any], error: str) -> None:
    [id] = logged(database, made(**{**vars(answer), "id": new_id()}))
    with pytest.raises(InputError, match=f"(?i){error}"):
        FeedbackLog(database).give(Given(id, **said))
    assert given(database, withdrawn=True) == []


def test_an_answer_that_nobody_gave(database: str) -> None:
    with pytest.raises(NotFoundError):
        FeedbackLog(database).give(Given(new_id(), "click", SOFA))


def test_when_it_happened_may_be_told_later(database: str) -> None:
    [id] = logged(database, made(time=ago(days=3)))
    FeedbackLog(database).give(Given(id, "purchase", SOFA, time=f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%S}"))
    [kept] = given(database)
    assert ago(days=1.01) < kept["time"] < ago(days=0.99) and kept["received"] > ago(minutes=5)


def test_an_answer_and_a_key_have_their_share(database: str) -> None:
    first, second = logged(database, made(), made())
    log = FeedbackLog(database, Limits(prediction=1, day=2))
    assert log.give(Given(first, "click", SOFA), "shop").new
    with pytest.raises(ConflictError, match="had its 1 pieces"):
        log.give(Given(first, "click", LAMP), "shop")
    assert log.give(Given(second, "click", SOFA), "shop").new
    [third] = logged(database, made())
    with pytest.raises(BusyError, match="'shop' has had its 2 pieces") as raised:
        log.give(Given(third, "click", SOFA), "shop")
    assert not isinstance(raised.value, ConflictError), "this one may be tried again tomorrow"
    assert not log.give(Given(second, "click", SOFA), "shop").new, "what is known costs nothing"
    assert log.give(Given(third, "click", SOFA), "other").new


PIECES = st.builds(
    lambda answer, kind, product, key: (answer, kind, product, key),
    st.integers(0, 3), st.sampled_from(["click", "purchase"]), st.sampled_from(PRODUCTS), st.sampled_from(["", "shop"]),
)  # fmt: skip


@drawn(st.lists(PIECES, max_size=40), st.integers(1, 5), st.integers(1, 12))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_and_however_often_the_limits_hold(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, Any, str, str]], most: int, day: int
) -> None:
    database = url(tmp_path_factory.mktemp("log") / "log.db")
    answers = logged(database, *(made(results=[(product, 0.5) for product in PRODUCTS]) for _ in range(4)))
    log = FeedbackLog(database, Limits(prediction=most, day=day))
    kept: dict[tuple[int, str, str], str] = {}
    for answer, kind, product, key in pieces:
        before = given(database)
        try:
            taken = log.give(Given(answers[answer], kind, product), key)
        except BusyError:
            assert (answer, kind, product) not in kept and given(database) == before
            continue
        assert taken.new is ((answer, kind, product) not in kept)
        assert kept.setdefault((answer, kind, product), taken.id) == taken.id
    found = given(database)
    assert {each["id"] for each in found} == set(kept.values()) and len(found) == len(kept)
    assert all(sum(each["prediction"] == id for each in found) <= most for id in answers)
    assert all(sum(each["key"] == key for each in found) <= day for key in ("", "shop"))
    counted = figures(database, *ALWAYS)
    assert (counted["clicks"], counted["purchases"]) == tuple(sum(each["kind"] == kind for each in found) for kind in ("click", "purchase"))


def test_many_at_once_are_one(database: str) -> None:
    [id] = logged(database, made())
    logs = [FeedbackLog(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda at: logs[at % 4].give(Given(id, "click", SOFA)), range(40)))
    assert len({each.id for each in taken}) == 1 and sum(each.new for each in taken) == 1


def test_figures_are_by_the_day_of_the_answers(database: str) -> None:
    old = {"time": ago(days=1)}
    one, none, right, wrong, below = logged(
        database, made(**old), made(results=[]), categorized(), categorized(**old), categorized(model_version="8")
    )
    log = FeedbackLog(database)
    for said in (
        Given(one, "click", LAMP), Given(one, "click", SOFA), Given(one, "purchase", LAMP), Given(one, "category", SOFA, "Beds"),
        Given(right, "category", category="Seating"), Given(wrong, "category", category="Beds"),
        Given(below, "category", "sofa-9", "Seating >  Sofas"),
    ):  # fmt: skip
        assert log.give(said).new
    assert none and by_day(database, *ALWAYS) == [
        UNSAID
        | {"day": ago(days=1)[:10], "predictions": 2, "searches": 1, "clicked": 1, "clicks": 2, "purchases": 1, "corrections": 2}
        | {"judged": 1, "reciprocal_rank": 1.0},
        UNSAID | {"day": now()[:10], "predictions": 3, "searches": 1, "zero_results": 1, "judged": 2, "correct": 2},
    ]
    whole = figures(database, *ALWAYS)
    assert {name: whole[name] for name in ("predictions", "judged", "correct", "corrections")} == {
        "predictions": 5, "judged": 3, "correct": 2, "corrections": 2
    }  # fmt: skip
    assert figures(database, *ALWAYS, version="8")["judged"] == 1 and figures(database, *ALWAYS, version="9") == UNSAID
    assert clicked(database, *ALWAYS) == {one}
    assert clicked(database, ago(hours=12), ago(hours=-1)) is None, "other feedback does not tell that clicks are sent"
    assert clicked(database, ago(hours=-1), ago(hours=-2)) is None
    assert figures(database, ago(hours=12), datetime.now(UTC) + timedelta(hours=1))["judged"] == 2


def test_answers_are_not_counted_for_figures_of_what_was_said(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = logged(database, categorized(), categorized())
    log = FeedbackLog(database)
    for id, category in ((right, "Seating"), (wrong, "Beds")):
        log.give(Given(id, "category", category=category))
    asked: list[str] = []
    read = feedback.rows
    monkeypatch.setattr(feedback, "rows", lambda url, query, **values: asked.append(query) or read(url, query, **values))
    assert figures(database, *ALWAYS, names=("correct", "judged")) == {"correct": 1, "judged": 2}
    assert by_day(database, *ALWAYS, names=("judged",)) == [{"day": now()[:10], "judged": 2}]
    assert asked and not [query for query in asked if "FROM predictions" in query]
    assert figures(database, *ALWAYS, names=("predictions",)) == {"predictions": 2}
    assert [query for query in asked if "FROM predictions" in query]


def test_pieces_come_one_after_the_other_page_by_page(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "PAGE", 2)
    assert list(stream(database, "1970-01-01")) == []
    log, ids = FeedbackLog(database), logged(database, *(made() for _ in range(5)))
    pieces = [log.give(Given(id, "click", SOFA)).id for id in ids]
    log.withdraw("a slip", "Ada", pieces[2:3])
    assert [each["id"] for each in stream(database, "1970-01-01")] == pieces[:2] + pieces[3:]
    newer = given(database)[2]["received"]
    assert [each["id"] for each in stream(database, newer)] == pieces[3:]
    assert list(stream(database, ago(hours=-1))) == []


def test_what_is_withdrawn_counts_no_more(database: str) -> None:
    ids = logged(database, made(), made(), made())
    log = FeedbackLog(database)
    pieces = [log.give(Given(id, "click", SOFA), key).id for id, key in zip(ids, ("bot", "bot", "shop"), strict=True)]
    assert log.withdraw("all by one script", "Ada", key="bot") == 2
    assert log.withdraw("a slip", "Ada", [pieces[2], pieces[0]]) == 1
    assert figures(database, *ALWAYS) == UNSAID | {"predictions": 3, "searches": 3} and given(database) == []
    assert len(given(database, withdrawn=True)) == 3
    assert log.give(Given(ids[0], "click", SOFA)).id == pieces[0] and given(database) == [], "said again it stays withdrawn"
    for wrong in ({"reason": " ", "ids": pieces}, {"reason": "why"}):
        with pytest.raises(InputError):
            log.withdraw(by="Ada", **wrong)  # type: ignore[arg-type]


def test_a_log_without_feedback_has_none(database: str, tmp_path: Path) -> None:
    assert figures(database, *ALWAYS) == UNSAID and given(database) == [], "there is no file yet"
    logged(database, made())
    assert figures(database, *ALWAYS)["predictions"] == 1 and of_prediction(database, new_id()) == []
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 1000)
    for read in (given, lambda database: figures(database, *ALWAYS)):
        with pytest.raises(GoodsightError, match=r"broken\.db cannot be read"):
            read(url(tmp_path / "broken.db"))


def test_a_database_that_fails_says_so(database: str, tmp_path: Path) -> None:
    [id] = logged(database, made())
    log = FeedbackLog(database)
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("DROP TABLE feedback")
    with pytest.raises(GoodsightError, match="cannot be written"):
        log.give(Given(id, "click", SOFA))


@pytest.mark.servers
def test_postgres_keeps_it_too(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS feedback WITH (FORCE)")
        connection.execute("CREATE DATABASE feedback")
    database = postgres_url.rpartition("/")[0] + "/feedback"
    search, named = logged(database, made(), categorized())
    log = FeedbackLog(database)
    assert figures(database, *ALWAYS) == UNSAID | {"predictions": 2, "searches": 1}
    assert log.give(Given(search, "click", LAMP)).new and not log.give(Given(search, "click", LAMP)).new
    assert log.give(Given(named, "category", category="Seating")).new
    counted = figures(database, *ALWAYS)
    assert (counted["clicks"], counted["reciprocal_rank"], counted["correct"]) == (1, 0.5, 1)
    assert len(given(database)) == 2 and log.withdraw("a slip", "Ada", key="") == 2
    [other] = logged(database, made())
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: log.give(Given(other, "click", SOFA)), range(20)))
    assert len({each.id for each in taken}) == 1 and sum(each.new for each in taken) == 1
