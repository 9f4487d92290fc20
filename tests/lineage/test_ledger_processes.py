"""Writers that are killed at random on SQLite and on a real Postgres: what was acknowledged stays, without a gap."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from goodsight.digests import HOUSE
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
