"""Writers on SQLite and on a real Postgres: killed at random, what was acknowledged stays, without a gap; of two at once, one wins."""

from __future__ import annotations

import multiprocessing
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from goodsight.digests import HOUSE
from goodsight.errors import ConflictError
from goodsight.settings import settings
from lineage.ledger import Ledger

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.servers)]


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of the backend."""
    if request.param == "sqlite":
        yield settings().ledger_url
        return
    server = request.getfixturevalue("postgres_url")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS ledger WITH (FORCE)")
        connection.execute("CREATE DATABASE ledger")
    yield server.rpartition("/")[0] + "/ledger"


@pytest.fixture(scope="module")
def survive() -> Callable[..., dict[str, Any]]:
    return runpy.run_path(str(HOUSE / "benchmarks" / "ledger.py"))["survive"]


@pytest.mark.parametrize("url", BACKENDS, indirect=True)
def test_killed_writers_lose_nothing_that_was_acknowledged(url: str, survive: Callable[..., dict[str, Any]]) -> None:
    found = survive(url, processes=8, events=40, between_kills=20)
    assert found["kills"] >= 4
    assert found["acknowledged"] == 320 <= found["length"] <= 320 + found["kills"]
    assert found["lost"] == 0


@pytest.mark.parametrize("url", BACKENDS, indirect=True)
def test_the_same_events_are_found_on_every_backend(url: str) -> None:
    ledger = Ledger(url)
    for number, digest in enumerate(["a" * 64, "b" * 64, "a" * 64]):
        ledger.append("run" if number else "snapshot", "tester", [digest, "c" * 64, digest], {"number": number, "name": "möbel\x00"})
    assert [event.payload["number"] for event in ledger.about("a" * 64)] == [0, 2]
    assert [event.payload["number"] for event in ledger.about("c" * 64)] == [0, 1, 2]
    assert ledger.about("d" * 64) == []
    assert [event.seq for event in ledger.events("run")] == [2, 3]
    assert Ledger(url).verify() == 3


def climb(address: str, actor: str) -> None:
    """Adds 25 events, each after the newest that this process knows of."""
    ledger, added = Ledger(address), 0
    while added < 25:
        newest = max((event.seq for event in ledger.events("verdict")), default=0)
        try:
            ledger.append("verdict", actor, [], {"after": newest}, expect=newest)
            added += 1
        except ConflictError:
            continue


def chatter(address: str) -> None:
    ledger = Ledger(address)
    for _ in range(50):
        ledger.append("run", "chatter", [], {})


@pytest.mark.parametrize("url", BACKENDS, indirect=True)
def test_of_those_who_expect_the_same_newest_event_one_wins(url: str) -> None:
    """Three race for each event of a kind, while a fourth appends others: none of the three overlooks one of another's."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=climb, args=(url, f"climber {number}")) for number in range(3)]
    writers.append(context.Process(target=chatter, args=(url,)))
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    ledger = Ledger(url)
    found = ledger.events("verdict")
    assert len(found) == 75 and ledger.verify() == 125
    assert [event.payload["after"] for event in found] == [0, *(event.seq for event in found[:-1])]
