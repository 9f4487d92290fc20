"""The champion: one mover wins, the ledger is the truth, and MLflow's aliases follow it whoever dies in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from goodsight.errors import BusyError, ConflictError, InputError
from goodsight.settings import settings
from lineage import champion, registry
from lineage.ledger import Ledger
from tests.lineage.registered import register, write_work

pytestmark = pytest.mark.usefixtures("home")


def aliases() -> dict[str, str]:
    return {alias: version for alias, version in registry.aliases(registry.connect()).items() if alias != "candidate"}


def ledger() -> Ledger:
    return Ledger(settings().ledger_url)


def test_moves_keep_the_previous_champion_and_are_in_the_ledger(work: Path) -> None:
    one, two = register(work, "a"), register(work, "b")
    assert champion.current() is None and champion.reigns() == []
    for version, seen in ((one, None), (two, one), (two, one), (one, two)):
        champion.move(version, seen, "Ada", f"{version} is better")
    now = champion.current()
    assert now and (now.version, now.candidate, now.previous, now.until, now.by) == ("1", "a" * 64, "2", None, "Ada")
    assert aliases() == {"champion": "1", "previous": "2"}
    moves = ledger().events("alias_move")
    assert [(move.payload["version"], move.payload["previous"]) for move in moves] == [("1", None), ("2", "1"), ("1", "2")]
    assert [move.subjects for move in moves] == [["a" * 64], ["b" * 64, "a" * 64], ["a" * 64, "b" * 64]]


def test_who_was_champion_is_known_for_every_instant(work: Path) -> None:
    one, two = register(work, "a"), register(work, "b")
    champion.move(one, None, "Ada", "the first")
    champion.move(two, one, "Ben", "better")
    first, second = champion.reigns()
    assert (first.until, second.until) == (second.since, None)
    start, change, tick = datetime.fromisoformat(first.since), datetime.fromisoformat(second.since), timedelta(microseconds=1)
    assert champion.at(start - tick) is None
    assert champion.at(start) == champion.at(change - tick) == first
    assert champion.at(change) == champion.at(change + timedelta(days=9)) == second


def test_a_mover_who_saw_another_champion_is_told_who_it_is(work: Path) -> None:
    one, two = register(work, "a"), register(work, "b")
    with pytest.raises(ConflictError, match="There is no champion, not version 2"):
        champion.move(one, two, "Ben", "better")
    champion.move(one, None, "Ada", "the first")
    for seen in (None, "7"):
        with pytest.raises(ConflictError, match=r"Version 1 is champion since .*, by Ada \(the first\), not (none|version 7)"):
            champion.move(two, seen, "Ben", "better")
    assert len(ledger().events("alias_move")) == 1


def challenge(version: str, start: Barrier, told: multiprocessing.Queue[str]) -> None:
    champion.check(version, "1")
    start.wait()
    try:
        champion.move(version, "1", f"mover {version}", "better")
        champion.current()
        told.put("won")
    except ConflictError as error:
        told.put(error.message)


def test_of_processes_that_promote_at_once_one_wins_and_the_others_learn_who(tmp_path: Path) -> None:
    work = write_work(tmp_path / "more", "abcd")
    champion.move(register(work, "a"), None, "Ada", "the first")
    challengers = [register(work, name) for name in "bcd"]
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(len(challengers)), context.Queue()
    movers = [context.Process(target=challenge, args=(version, start, told)) for version in challengers]
    for mover in movers:
        mover.start()
    answers = sorted(told.get(timeout=120) for _ in movers)
    for mover in movers:
        mover.join()
    winner = champion.current()
    assert winner and winner.version in challengers and winner.previous == "1"
    assert answers.count("won") == 1
    assert sum(f"Version {winner.version} is champion since {winner.since}, by mover" in answer for answer in answers) == 2
    assert len(ledger().events("alias_move")) == 2
    assert aliases() == {"champion": winner.version, "previous": "1"}


@pytest.mark.parametrize("killed_at", ["champion", "previous"])
def test_a_mover_killed_before_mlflow_followed_is_made_good_by_the_next_read(work: Path, killed_at: str) -> None:
    one, two = register(work, "a"), register(work, "b")
    champion.move(one, None, "Ada", "the first")
    champion.current()
    code = (
        "import os, signal, sys; from lineage import champion; from mlflow import MlflowClient\n"
        "real = MlflowClient.set_registered_model_alias\n"
        "def dies(self, model, alias, version):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if alias == sys.argv[1] else real(self, model, alias, version)\n"
        "MlflowClient.set_registered_model_alias = dies\n"
        "champion.move('2', '1', 'Ben', 'better'); champion.current()"
    )
    died = subprocess.run([sys.executable, "-c", code, killed_at], env=dict(os.environ), check=False)
    assert died.returncode == -signal.SIGKILL
    assert aliases() != {"champion": two, "previous": one}
    now = champion.current()
    assert now and (now.version, now.by) == (two, "Ben")
    assert aliases() == {"champion": two, "previous": one}


def test_an_alias_moved_behind_the_ledgers_back_is_moved_back(work: Path) -> None:
    one, two = register(work, "a"), register(work, "b")
    champion.move(one, None, "Ada", "the first")
    registry.connect().set_registered_model_alias(registry.MODEL, "champion", two)
    now = champion.current()
    assert now and now.version == one and aliases() == {"champion": one}


def test_who_is_champion_is_known_without_mlflow(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    champion.move(register(work, "a"), None, "Ada", "the first")
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", f"sqlite:///{settings().root}/other.db")
    settings.cache_clear()
    now = champion.current()
    assert now and now.version == "1" and "aliases are late" in capsys.readouterr().out


def test_nothing_moves_when_the_ledger_cannot_take_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = register(work, "a")
    monkeypatch.setattr("lineage.database.BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(settings().root / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError):
        champion.move(version, None, "Ada", "the first")
    holder.close()
    assert champion.current() is None and aliases() == {}


def test_an_unknown_version_is_refused(work: Path) -> None:
    register(work, "a")
    for version in ("7", "newest"):
        with pytest.raises(InputError, match=f"no version '{version}'"):
            champion.move(version, None, "Ada", "the first")
    assert champion.reigns() == []
