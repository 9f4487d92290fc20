"""The prediction log: every answer is found again, a request never waits, and what is lost is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import GoodsightError
from lineage.answered import by_version, gaps, prediction, showing
from lineage.predictions import Prediction, PredictionLog, new_id, now

SOFA, LAMP, SHELF = "sofa-1", 'lamp "ü" 1', "shelf-1"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def made(**changes: Any) -> Prediction:
    """The answer to a search."""
    usual = Prediction(
        id=new_id(),
        time=now(),
        task="search",
        modalities=("text", "image"),
        model_version="7",
        candidate="c" * 64,
        index="1" * 64,
        features="",
        input="a" * 64,
        k=2,
        results=[(SOFA, 0.87654321), (LAMP, 0.5)],
        latency_ms=12.3456,
        status="ok",
    )
    return replace(usual, **changes)


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(new_id()) for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert {each.version for each in ids} == {7} and {each.variant for each in ids} == {uuid.RFC_4122}
    told = [each.int >> 80 for each in ids]
    assert before <= told[0] and told == sorted(told) and told[-1] <= after
    assert len(set(ids)) == 1_000


def test_an_answer_is_found_by_its_id(tmp_path: Path) -> None:
    log, row = PredictionLog(url(tmp_path / "new" / "log.db")), made()
    log.log(row)
    assert log.flush()
    assert prediction(url(tmp_path / "new" / "log.db"), row.id.upper()) == {
        "id": row.id,
        "time": row.time,
        "task": "search",
        "modalities": ["text", "image"],
        "model_version": "7",
        "candidate": "c" * 64,
        "index": "1" * 64,
        "features": "",
        "input": "a" * 64,
        "k": 2,
        "results": [[SOFA, 0.876543], [LAMP, 0.5]],
        "latency_ms": 12.346,
        "status": "ok",
    }
    assert prediction(url(tmp_path / "new" / "log.db"), new_id()) is None
    assert prediction(url(tmp_path / "none.db"), row.id) is None and not (tmp_path / "none.db").exists()


def test_what_a_product_was_shown_in_and_what_a_version_answered(tmp_path: Path) -> None:
    place = url(tmp_path / "log.db")
    log = PredictionLog(place)
    rows = [made() for _ in range(30)]
    rows += [made(results=[(SHELF, 0.9)], model_version="8"), made(task="categorize", results=[(SOFA, 0.9)], modalities=())]
    rows += [made(results=[], task="", status="refused", model_version="8")]
    for row in rows:
        log.log(row)
    assert log.flush()
    sofa = showing(place, SOFA)
    assert sofa["count"] == 30, "a category with the name of a product is no product"
    assert [each["id"] for each in sofa["newest"]] == [row.id for row in rows[29:9:-1]]
    assert showing(place, SHELF)["newest"] == [{"id": rows[30].id, "time": rows[30].time, "model_version": "8"}]
    assert showing(place, "unknown") == {"count": 0, "newest": []}
    assert [(each["model_version"], each["count"], each["first"], each["last"]) for each in by_version(place)] == [
        ("7", 31, rows[0].time, rows[31].time),
        ("8", 2, rows[30].time, rows[32].time),
    ]
    assert gaps(place) == []


def test_a_request_does_not_wait_for_a_slow_database_and_what_is_lost_is_told(tmp_path: Path) -> None:
    place = tmp_path / "log.db"
    log = PredictionLog(url(place), capacity=10)
    holder = sqlite3.connect(place, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    rows = [made() for _ in range(100)]
    started = time.monotonic()
    for row in rows:
        log.log(row)
    assert time.monotonic() - started < 1
    assert not log.flush(timeout=0.1)
    holder.execute("ROLLBACK")
    holder.close()
    assert log.flush(timeout=60)
    [version], [gap] = by_version(url(place)), gaps(url(place))
    assert version["count"] + gap["count"] == 100 and gap["count"] >= 89
    assert rows[0].time <= gap["since"] <= gap["until"] == rows[-1].time


def test_a_row_that_the_database_refuses_is_told_and_the_next_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PredictionLog._store.retry, "stop", lambda _: True)  # type: ignore[attr-defined]
    log = PredictionLog(url(tmp_path / "log.db"))
    bad = made(status=None)
    log.log(bad)
    log.flush()
    good = made()
    log.log(good)
    assert log.flush()
    assert prediction(url(tmp_path / "log.db"), good.id) and prediction(url(tmp_path / "log.db"), bad.id) is None
    assert gaps(url(tmp_path / "log.db")) == [{"count": 1, "since": bad.time, "until": bad.time}]
    assert "1 rows are lost" in capsys.readouterr().err


def fill(path: Path, version: str, count: int) -> None:
    log = PredictionLog(url(path))
    for number in range(count):
        log.log(made(model_version=version, results=[(f"p{number}", 0.5), (SOFA, 0.4)]))
    assert log.flush(60)


def test_several_processes_write_one_log(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=fill, args=(tmp_path / "log.db", str(number), 300)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    counts = {each["model_version"]: each["count"] for each in by_version(url(tmp_path / "log.db"))}
    assert counts == {"0": 300, "1": 300, "2": 300}
    assert showing(url(tmp_path / "log.db"), SOFA)["count"] == 900 and showing(url(tmp_path / "log.db"), "p7")["count"] == 3


def test_what_was_flushed_outlives_a_killed_writer(tmp_path: Path) -> None:
    code = (
        "import sys, tests.lineage.test_predictions as t\nlog = t.PredictionLog(sys.argv[1])\n"
        "while True:\n    row = t.made()\n    log.log(row)\n    assert log.flush()\n    print(row.id, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, url(tmp_path / "log.db")], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        ids = [writer.stdout.readline().strip() for _ in range(20)]
        os.kill(writer.pid, signal.SIGKILL)
    assert all(prediction(url(tmp_path / "log.db"), each) for each in ids)
    log, row = PredictionLog(url(tmp_path / "log.db")), made()
    log.log(row)
    assert log.flush() and prediction(url(tmp_path / "log.db"), row.id)


def test_readers_and_the_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    log = PredictionLog(url(tmp_path / "log.db"))
    log.log(made())
    assert log.flush()
    reader = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM predictions").fetchone() == (1,)
    log.log(made())
    assert log.flush(timeout=5)
    reader.close()


def test_a_log_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is no database, but long enough to be taken for one" * 20)
    with pytest.raises(GoodsightError, match="GOODSIGHT_PREDICTIONS_URI"):
        PredictionLog(url(tmp_path / "log.db"))
    with pytest.raises(GoodsightError, match="cannot be read"):
        prediction(url(tmp_path / "log.db"), "x")


def test_logging_from_many_threads_loses_nothing(tmp_path: Path) -> None:
    log = PredictionLog(url(tmp_path / "log.db"))
    threads = [threading.Thread(target=lambda: [log.log(made()) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.flush(60) and by_version(url(tmp_path / "log.db"))[0]["count"] == 800
