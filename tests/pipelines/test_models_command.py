"""`goodsight models` over a registry of two versions: what it lists, shows and knows of the past."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from goodsight.settings import settings
from lineage import champion
from pipelines.command import app
from tests.homes import in_home
from tests.lineage.registered import register, write_work


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions, of which the first was champion and the second is."""
    folder = tmp_path_factory.mktemp("models")
    with in_home(folder / "home"):
        work = write_work(folder)
        versions = [register(work, name, seed=17) for name in "ab"]
        champion.move(versions[0], None, "pipeline", "promoted by the gate")
        champion.move(versions[1], versions[0], "Ada", "better on lamps")
    return folder / "home"


@pytest.fixture(autouse=True)
def home(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_HOME", str(kept))
    monkeypatch.setenv("COLUMNS", "200")
    settings.cache_clear()


def told(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["models", *arguments])
    assert done.exit_code == 0, done.output
    return done


def answer(*arguments: str) -> Any:
    return json.loads(told(*arguments, "--json").stdout.splitlines()[-1])


def test_the_list_has_a_row_a_version(kept: Path) -> None:
    first, second = (line.split("│")[1:-1] for line in told("list").stdout.splitlines() if "commercemm" in line)
    cells = [cell.strip() for cell in second]
    assert cells[:7] == ["2", "commercemm", "data/furniture", "50.0", "75.0", "", "promote"]
    assert cells[7] == "candidate, champion" and first[7].strip() == "previous"
    assert [row["served"] for row in answer("list")] == [False, False]


def test_an_empty_home_has_no_versions(tmp_path: Path) -> None:
    assert answer("list", "--home", str(tmp_path / "empty")) == []


def test_one_version_is_shown_with_its_provenance_and_its_history() -> None:
    shown = told("show", "1").stdout
    for words in ("a" * 64, "bundle retrieve: code", "seed", "leaf_accuracy", "promoted by the gate", "better on lamps"):
        assert words in shown
    assert [event["kind"] for event in answer("show", "1")["events"]] == ["registration", "alias_move", "alias_move"]
    assert [event["kind"] for event in answer("show", "2")["events"]] == ["registration", "alias_move"]


def test_who_was_champion_at_a_time_or_on_a_day() -> None:
    first, second = champion.reigns()
    then = answer("who-was-champion", "--at", first.since)["champion"]
    assert (then["version"], then["candidate"], then["until"]) == ("1", "a" * 64, second.since)
    today = answer("who-was-champion", "--at", second.since[:10])["champion"]
    assert (today["version"], today["by"], today["reason"], today["until"]) == ("2", "Ada", "better on lamps", None)
    shown = told("who-was-champion", "--at", second.since).stdout
    assert "better on lamps" in shown and "b" * 64 in shown
    assert answer("who-was-champion", "--at", "2020-01-01")["champion"] is None
    assert "no champion at 2020-01-01" in told("who-was-champion", "--at", "2020-01-01").stdout


def test_the_past_is_known_without_mlflow(kept: Path, tmp_path: Path) -> None:
    shutil.copy(kept / "ledger.db", tmp_path / "ledger.db")
    assert answer("who-was-champion", "--at", "2999-01-01", "--home", str(tmp_path))["champion"]["version"] == "2"
    assert not (tmp_path / "mlflow.db").exists()
