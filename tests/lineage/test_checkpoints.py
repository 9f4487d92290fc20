"""The checkpoint: a ledger whose end was cut off or rewritten is refused, and nothing is added to it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from goodsight.errors import BusyError, IntegrityError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import checkpoints, keys
from lineage.ledger import GENESIS, Event, Ledger


@pytest.fixture
def ledger() -> Ledger:
    """This home's ledger, of three events."""
    made = Ledger(settings().ledger_url)
    for number in range(3):
        made.append("run", "tester", ["a" * 64], {"number": number})
    return made


def change(*statements: str) -> None:
    with sqlite3.connect(settings().root / "ledger.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def refused(ledger: Ledger, words: str) -> None:
    """By who verifies and by who would append."""
    for call in (ledger.verify, lambda: ledger.append("run", "tester", [], {})):
        with pytest.raises(IntegrityError, match=words):
            call()


def test_every_event_is_covered_as_soon_as_it_is_appended(ledger: Ledger) -> None:
    last = ledger.events()[-1]
    found = checkpoints.newest()
    assert found and (found.seq, found.hash) == (3, last.hash)
    new = ledger.append("run", "tester", [], {})
    assert (checkpoints.newest() or found).hash == new.hash


def test_a_cut_off_end_is_found_and_not_grown_over(ledger: Ledger) -> None:
    change("DELETE FROM events WHERE seq = 3", "DELETE FROM subjects WHERE seq = 3")
    refused(ledger, "ends at event 2, its checkpoint of .* knows event 3")


def test_a_ledger_that_is_gone_is_not_begun_anew(ledger: Ledger) -> None:
    (settings().root / "ledger.db").unlink()
    refused(Ledger(settings().ledger_url), "ends at event 0, its checkpoint of .* knows event 3")


def test_another_end_of_a_whole_chain_is_found(ledger: Ledger) -> None:
    first, second, third = ledger.events()
    forged = Event(3, third.time, "run", "someone else", third.subjects, third.payload, second.hash)
    change(f"UPDATE events SET actor = 'someone else', hash = '{forged.hash}' WHERE seq = 3")
    assert [each.previous for each in ledger.events()] == [GENESIS, first.hash, second.hash]
    refused(ledger, "event 3 is not the one that the checkpoint")


def test_a_ledger_without_its_checkpoint_is_refused(ledger: Ledger) -> None:
    settings().checkpoint_file.unlink()
    refused(ledger, r"no checkpoint: .*ledger\.checkpoint\.json is missing")


@pytest.mark.parametrize("damage", ["flipped", "cut", "of another key", "no checkpoint"])
def test_an_altered_checkpoint_is_refused(ledger: Ledger, damage: str) -> None:
    path = settings().checkpoint_file
    envelope = read_json(path)
    if damage == "flipped":
        write_json(path, {**envelope, "payload": envelope["payload"].replace("e", "f", 1)})
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "of another key":
        old = keys.current()
        keys.rotate()
        keys.distrust(old)
    else:
        write_json(path, checkpoints.seal({"seq": 3}, checkpoints.TYPE))
    refused(ledger, r"ledger\.checkpoint\.json (is not|cannot|is no|is by)")


def test_a_restored_ledger_goes_on_once_somebody_says_so(ledger: Ledger) -> None:
    change("DELETE FROM events WHERE seq = 3", "DELETE FROM subjects WHERE seq = 3")
    said = ledger.accept("ada", "restored from the backup of Monday")
    assert (said.seq, said.kind, said.actor) == (3, "key", "ada")
    assert said.payload == {"action": "accept the ledger", "reason": "restored from the backup of Monday", "length": 2}
    assert ledger.append("run", "tester", [], {}).seq == ledger.verify() == 4


def test_a_broken_chain_cannot_be_accepted(ledger: Ledger) -> None:
    change("DELETE FROM events WHERE seq = 2")
    with pytest.raises(IntegrityError, match="event 2 is missing"):
        ledger.accept("ada", "why not")


def test_a_rotation_needs_nothing_and_the_key_before_may_go_after_the_next_event(ledger: Ledger) -> None:
    old = keys.current()
    keys.rotate()
    ledger.append("key", "tester", [], {})
    keys.distrust(old)
    assert ledger.verify() == 4


def test_late_writers_do_not_turn_it_back(ledger: Ledger) -> None:
    checkpoints.record(2, "h" * 64)
    assert ledger.verify() == 3


def test_processes_that_write_it_at_once_leave_the_last(ledger: Ledger) -> None:
    def append() -> None:
        own = Ledger(settings().ledger_url)
        for _ in range(10):
            own.append("run", "tester", [], {})

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = checkpoints.newest()
    assert found and found.seq == ledger.verify() == 43


def test_a_checkpoint_that_cannot_be_written_is_told(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineage.checkpoints.write_json", lambda *_: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(BusyError, match="cannot be written: No space left"):
        ledger.append("run", "tester", [], {})


def test_it_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_LEDGER_CHECKPOINT", str(tmp_path / "another disk" / "checkpoint.json"))
    settings.cache_clear()
    Ledger(settings().ledger_url).append("run", "tester", [], {})
    assert read_json(tmp_path / "another disk" / "checkpoint.json")["payloadType"] == checkpoints.TYPE
