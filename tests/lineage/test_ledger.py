"""The ledger: a chain that many processes extend at once, that survives their death, and that shows any alteration."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodsight.errors import BusyError, ConflictError, InputError, IntegrityError
from lineage.ledger import GENESIS, Ledger

COLUMNS = ["seq", "time", "kind", "actor", "subjects", "payload", "previous", "hash"]
OPEN = "import sys; from lineage.ledger import Ledger; ledger = Ledger(sys.argv[1])\n"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of three events."""
    made = Ledger(url(tmp_path / "ledger.db"))
    made.append("snapshot", "tester", ["a" * 64], {"name": "möbel", "rows": 3})
    made.append("verdict", "tester", [], {"decision": "promote", "figures": [0.5, None, True]})
    made.append("snapshot", "tester", ["b" * 64, "c" * 64], {})
    return made


def change(tmp_path: Path, statement: str, *values: object) -> list[tuple[bytes, ...]]:
    """Runs `statement` behind the ledger's back."""
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def test_events_come_back_as_appended_and_chained(ledger: Ledger) -> None:
    first, second, third = ledger.events()
    assert (first.seq, first.kind, first.actor) == (1, "snapshot", "tester")
    assert (first.subjects, first.payload) == (["a" * 64], {"name": "möbel", "rows": 3})
    assert [first.previous, second.previous, third.previous] == [GENESIS, first.hash, second.hash]
    assert datetime.fromisoformat(first.time).tzinfo == UTC
    assert [event.seq for event in ledger.events("snapshot")] == [1, 3]
    assert ledger.verify() == 3


def test_an_empty_ledger_is_whole(tmp_path: Path) -> None:
    assert Ledger(url(tmp_path / "new" / "ledger.db")).verify() == 0


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_what_is_not_json_is_refused_and_leaves_no_trace(ledger: Ledger, payload: dict[str, object]) -> None:
    with pytest.raises(InputError, match="kind 'run' is not JSON"):
        ledger.append("run", "tester", [], payload)
    assert ledger.verify() == 3


def test_an_unknown_kind_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="'promotion' is no kind of ledger event"):
        ledger.append("promotion", "tester", [], {})
    assert ledger.verify() == 3


def test_events_filed_under_other_subjects_are_found(ledger: Ledger, tmp_path: Path) -> None:
    """Nobody hides an event from who asks about a digest, or adds one."""
    for damage, repair in (
        (f"DELETE FROM subjects WHERE digest = '{'b' * 64}'", f"INSERT INTO subjects VALUES ('{'b' * 64}', 3)"),
        (f"INSERT INTO subjects VALUES ('{'b' * 64}', 1)", f"DELETE FROM subjects WHERE digest = '{'b' * 64}' AND seq = 1"),
    ):
        change(tmp_path, damage)
        with pytest.raises(IntegrityError, match="event (1|3) is filed under other subjects than its own"):
            ledger.verify()
        change(tmp_path, repair)
    assert ledger.verify() == 3


def test_a_ledger_of_before_subjects_were_filed_is_brought_up_to_date(ledger: Ledger, tmp_path: Path) -> None:
    change(tmp_path, "DROP TABLE subjects")
    opened = Ledger(url(tmp_path / "ledger.db"))
    assert [event.seq for event in opened.about("c" * 64)] == [3]
    assert opened.verify() == 3


def extend(path: Path, actor: str) -> None:
    ledger = Ledger(url(path))
    for number in range(50):
        ledger.append("run", actor, [], {"number": number})


def test_four_processes_append_at_once_without_gap_or_loss(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=extend, args=(path, f"writer {number}")) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    ledger = Ledger(url(path))
    assert ledger.verify() == 200
    for number in range(4):
        mine = [event.payload["number"] for event in ledger.events() if event.actor == f"writer {number}"]
        assert mine == list(range(50))


def test_an_event_is_added_only_while_the_newest_of_its_kind_is_the_expected_one(ledger: Ledger) -> None:
    with pytest.raises(ConflictError, match="newest event of kind 'verdict' is 2, not 0"):
        ledger.append("verdict", "late", [], {}, expect=0)
    assert ledger.append("verdict", "in time", [], {}, expect=2).seq == 4
    assert ledger.append("deploy", "first", [], {}, expect=0).seq == 5
    assert ledger.verify() == 5


def test_an_acknowledged_event_outlives_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    code = OPEN + "while True: print(ledger.append('run', 'victim', [], {}).seq, flush=True)"
    with subprocess.Popen([sys.executable, "-c", code, url(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        for line in writer.stdout:
            if int(line) == 20:
                break
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([20, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    ledger = Ledger(url(path))
    assert ledger.verify() >= acknowledged
    assert ledger.append("run", "survivor", [], {}).seq == ledger.verify()


def test_a_ledger_held_by_another_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineage.database.BUSY_SECONDS", 0.1)
    ledger = Ledger(url(tmp_path / "ledger.db"))
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="locked"):
        ledger.append("run", "tester", [], {})
    holder.close()
    assert ledger.append("run", "tester", [], {}).seq == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seq=st.integers(1, 3), column=st.sampled_from(COLUMNS[1:]), place=st.integers(0), flip=st.integers(1, 255))
def test_any_changed_byte_is_found(
    ledger: Ledger, tmp_path: Path, seq: int, column: str, place: int, flip: int
) -> None:
    ((whole,),) = change(tmp_path, f"SELECT CAST({column} AS BLOB) FROM events WHERE seq = ?", seq)
    altered = bytearray(whole)
    altered[place % len(whole)] ^= flip
    set_column = f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE seq = ?"
    change(tmp_path, set_column, bytes(altered), seq)
    with pytest.raises(IntegrityError, match=f"event ({seq}|{seq + 1}) is"):
        ledger.verify()
    change(tmp_path, set_column, whole, seq)
    assert ledger.verify() == 3


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 1", 1),
        ("UPDATE events SET seq = 9 WHERE seq = 3", 3),
        ('UPDATE events SET payload = \'{"rows": 3,"name":"möbel"}\' WHERE seq = 1', 1),
        ("UPDATE events SET payload = x'00ff' WHERE seq = 2", 2),
    ],
)
def test_removed_moved_and_rewritten_events_are_named(
    tmp_path: Path, ledger: Ledger, statement: str, broken: int
) -> None:
    change(tmp_path, statement)
    with pytest.raises(IntegrityError, match=f"event {broken} is"):
        ledger.verify()


def test_an_event_rehashed_after_a_change_breaks_the_next_link(tmp_path: Path, ledger: Ledger) -> None:
    forged = replace(ledger.events()[1], actor="someone else")
    change(tmp_path, "UPDATE events SET actor = ?, hash = ? WHERE seq = 2", forged.actor, forged.hash)
    with pytest.raises(IntegrityError, match="event 3 is chained to"):
        ledger.verify()
