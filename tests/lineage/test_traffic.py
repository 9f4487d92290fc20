"""Traffic as the prediction log has it: figures of each answer, from logs of earlier releases too, and never what was asked."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lineage.predictions import Prediction, PredictionLog, new_id
from lineage.traffic import SCHEMA, SKETCH, read, with_clicks

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
OLD = """
CREATE TABLE served ("key" INTEGER NOT NULL PRIMARY KEY, model_version TEXT NOT NULL, candidate TEXT NOT NULL, index_digest TEXT NOT NULL,
  features TEXT NOT NULL, UNIQUE (model_version, candidate, index_digest, features));
CREATE TABLE predictions (number INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE, time TEXT NOT NULL, served INTEGER NOT NULL,
  task TEXT NOT NULL, modalities TEXT NOT NULL, input TEXT NOT NULL, k INTEGER NOT NULL, results TEXT NOT NULL, latency_ms FLOAT NOT NULL,
  status TEXT NOT NULL);
INSERT INTO served VALUES (1, '6', 'c', 'i', '');
INSERT INTO predictions VALUES
  (1, 'old', '2026-03-01T00:00:00.000+00:00', 1, 'search', 'text', 'a', 2, '[["p1",0.9],["p2",0.4]]', 8.0, 'ok');
"""


def made(minutes: int, **changes: Any) -> Prediction:
    told: dict[str, Any] = {
        "id": new_id(),
        "time": (BEGIN + timedelta(minutes=minutes)).isoformat(timespec="milliseconds"),
        "task": "search",
        "modalities": ("text", "image"),
        "model_version": "7",
        "candidate": "c" * 64,
        "index": "1" * 64,
        "features": "",
        "input": f"{minutes}",
        "k": 2,
        "results": [("sofa", 0.8), ("lamp", 0.5)],
        "latency_ms": 12.5,
        "status": "ok",
    }
    return Prediction(**{**told, **changes})


def logged(path: Path, *rows: Prediction) -> str:
    url = f"sqlite:///{path}"
    log = PredictionLog(url)
    for row in rows:
        log.log(row)
    assert log.flush()
    return url


def at(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def test_a_row_has_what_the_log_and_the_traits_tell(tmp_path: Path) -> None:
    traits = {"text_chars": 8, "oov": 0.5, "language": "en", "sketch": [0.25] * SKETCH, "unknown trait": 1}
    rows = [made(0, traits=lambda: traits), made(1, task="categorize", results=[("Sofa", 0.9)], traits={"category": "Sofa"})]
    rows += [made(2, task="embed", results=[]), made(3, task="", results=[], status="refused", modalities=()), made(4, results=[])]
    found = read(logged(tmp_path / "log.db", *rows), at(0), at(60))
    assert found.schema == SCHEMA and found["id"].to_pylist() == [row.id for row in rows]
    first, second, embedded, refused, nothing = found.to_pylist()
    assert first["time"] == at(0) and (first["modalities"], first["model_version"]) == ("text,image", "7")
    assert (first["top"], first["score"], first["second"], first["results"]) == ("sofa", 0.8, 0.5, 2)
    assert (first["text_chars"], first["oov"], first["language"], first["sketch"]) == (8, 0.5, "en", [0.25] * SKETCH)
    assert (second["category"], second["second"], second["results"], second["brightness"]) == ("Sofa", None, 1, None)
    assert embedded["results"] is None is refused["results"] and (nothing["results"], nothing["top"]) == (0, None)


def test_a_log_of_an_earlier_release_is_read_as_it_is_and_goes_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as old:
        old.executescript(OLD)
    url = f"sqlite:///{tmp_path / 'log.db'}"
    assert read(url, at(0), at(1))["top"].to_pylist() == ["p1"]
    logged(tmp_path / "log.db", made(1, traits={"text_words": 3}))
    logged(tmp_path / "log.db", made(2))
    assert read(url, at(0), at(60))["text_words"].to_pylist() == [None, 3, None]
    with sqlite3.connect(tmp_path / "log.db") as now:
        plan = now.execute("EXPLAIN QUERY PLAN SELECT * FROM predictions WHERE time >= 'x'").fetchall()
    assert "predictions_by_time" in str(plan)


def test_a_stretch_a_version_a_task_and_not_more_than_wanted(tmp_path: Path) -> None:
    url = logged(tmp_path / "log.db", *(made(n, model_version="78"[n % 2], task=("search", "similar")[n % 3 == 0]) for n in range(100)))

    def minutes(*given: Any, **more: Any) -> list[int]:
        return [int(each) for each in read(url, *given, **more)["input"].to_pylist()]

    assert minutes(at(10), at(13)) == [10, 11, 12]
    assert minutes(at(0), at(10), "8") == [1, 3, 5, 7, 9] and minutes(at(0), at(10), task="similar") == [0, 3, 6, 9]
    assert minutes(at(0), at(100), most=3, first="newest") == [97, 98, 99]
    assert minutes(at(0), at(100), most=3, first="oldest") == [0, 1, 2]
    spread = minutes(at(0), at(100), most=10)
    assert len(spread) == 10 and {after - before for before, after in zip(spread, spread[1:], strict=False)} == {10}
    assert minutes(at(200), at(300)) == [] and read(f"sqlite:///{tmp_path / 'none.db'}", at(0), at(1)).num_rows == 0


def test_clicks_are_of_answers_with_products(tmp_path: Path) -> None:
    rows = [made(0), made(1), made(2, task="categorize"), made(3, status="refused", results=[])]
    found = read(logged(tmp_path / "log.db", *rows), at(0), at(9))
    assert found["clicked"].to_pylist() == [None] * 4
    assert with_clicks(found, {rows[1].id, rows[2].id})["clicked"].to_pylist() == [False, True, None, None]


def test_traits_that_fail_cost_the_traits_alone_and_tell_nothing_of_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("a secret wish")

    url = logged(tmp_path / "log.db", made(0, traits=broken), made(1, traits=lambda: {"text_words": 2}))
    assert read(url, at(0), at(9))["text_words"].to_pylist() == [None, 2]
    said = capsys.readouterr().err
    assert "has no traits: ValueError" in said and "secret" not in said
