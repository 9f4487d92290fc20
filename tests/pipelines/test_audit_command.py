"""`goodsight audit` as its users meet it: it says what was checked, and names the first thing that was altered."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from catalogue.versions import import_version
from components.steps.register import register
from goodsight.errors import EXIT_REFUSED, GoodsightError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import keys, registry
from lineage.ledger import Ledger
from lineage.signing import SIGNATURE, sign
from pipelines.command import app
from tests.homes import in_home
from tests.lineage.made import made as run_of


def audit(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments])


def checks(*arguments: str) -> list[dict[str, Any]]:
    return json.loads(audit("verify", "--json", *arguments).stdout.splitlines()[-1])


def found(**wanted: str) -> None:
    """Of all checks, those with a fault are `wanted`: how the name starts (with _ for a blank) -> words of the fault."""
    faults = {check["name"]: check["fault"] for check in checks() if check["fault"]}
    assert len(faults) == len(wanted), faults
    for name, words in wanted.items():
        (fault,) = [fault for check, fault in faults.items() if check.startswith(name.replace("_", " "))]
        assert words in fault, fault
    done = audit("verify")
    assert isinstance(done.exception, GoodsightError) and done.exception.exit_code == EXIT_REFUSED
    assert "FAILED" in done.stdout and next(iter(wanted.values())) in done.exception.message


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a version of the data, one registered candidate, and its archive in the model store."""
    work = tmp_path_factory.mktemp("audited")
    with in_home(work / "home"):
        run = run_of(work)
        revision = import_version(work / "shop", "shop", work / "home")
        (work / "plots").mkdir()
        inputs = (run.candidate, run.evaluation, run.verdict, work / "plots", run.snapshot)
        assert register(*inputs, revision, {}, "c" * 64, work / "registered") == "1"
        _serve(work / "registered", work / "home" / "serving")
        index = work / "home" / "serving" / "store" / "goodsight-1" / "index"
        registry.keep_parts("1", registry.Parts(work / "registered", index, None, []))
        Ledger(settings().ledger_url).append("run", "pipeline", [], {})
    return work / "home"


def _serve(registered: Path, serving: Path) -> None:
    """What a deployment leaves of version 1, without its server."""
    archive = serving / "store" / "goodsight-1"
    shutil.copytree(registered, archive / "candidate")
    write_json(archive / "index" / "index.json", {"digest": "i" * 64})
    sign(archive / "index")
    told = {"version": "1", "candidate": read_json(registered / "candidate.json")["digest"], "index": "i" * 64}
    write_json(archive / "version.json", told)
    write_json(serving / "current.json", {**told, "archive": "goodsight-1", "previous": None, "deployed_at": "2026-11-26"})


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same home at the same place, since MLflow keeps where its artifacts lie, and its database open."""
    shutil.copytree(made, tmp_path / "kept", ignore=shutil.ignore_patterns("mlflow.db*"))
    monkeypatch.setenv("GOODSIGHT_HOME", str(made))
    settings.cache_clear()
    yield made
    for path in made.iterdir():
        if not path.name.startswith("mlflow.db"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(tmp_path / "kept", made, dirs_exist_ok=True)


def test_everything_is_checked_and_counted(home: Path) -> None:
    told = {check["name"].split(" version")[0]: check for check in checks()}
    assert list(told) == ["ledger", "registered", "served", "catalogue"]
    assert not any(check["fault"] for check in told.values())
    events = len(Ledger(settings().ledger_url).events())
    assert told["ledger"]["found"] == f"{events} events, an unbroken chain; checkpoint at event {events}"
    assert told["registered"]["found"] == f"candidate signed by {keys.current()[:12]}, index signed by {keys.current()[:12]}"
    assert "--deep" in told["catalogue"]["found"]
    assert checks("--deep")[-1]["found"].startswith("every byte of")
    done = audit("verify")
    assert done.exit_code == 0 and "registered version 1" in done.stdout


def test_an_empty_home_has_nothing_to_hide() -> None:
    assert [check["name"] for check in checks()] == ["ledger"]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "a registered bundle": (
        lambda home: _flip(next(home.glob("mlartifacts/*/artifacts/candidate/retrieve/weights.safetensors"))),
        {"registered": "candidate/retrieve/weights.safetensors is not as it was signed"},
    ),
    "a registered index": (
        lambda home: _flip(next(home.glob("mlartifacts/*/artifacts/index/*/index.json"))),
        {"registered": "index.json is not as it was signed"},
    ),
    "the archive that is served": (
        lambda home: _flip(home / "serving" / "store" / "goodsight-1" / "index" / "index.json"),
        {"served": "goodsight-1/index/index.json is not as it was signed"},
    ),
    "an archive without its index": (
        lambda home: shutil.rmtree(home / "serving" / "store" / "goodsight-1" / "index"),
        {"served": "index is not signed"},
    ),
    "what is said to be served": (
        lambda home: write_json(home / "serving" / "current.json", {**read_json(home / "serving" / "current.json"), "index": "x" * 64}),
        {"served": "index is iiiiiiiiiiii, not xxxxxxxxxxxx as recorded"},
    ),
    "the ledger's end": (lambda home: _sql(home, "DELETE FROM events", "DELETE FROM subjects"), {"ledger": "ends at event 0"}),
    "the checkpoint": (lambda home: (home / "ledger.checkpoint.json").write_text("{}"), {"ledger": "ledger.checkpoint.json"}),
    "two things": (
        lambda home: (_flip(home / "ledger.checkpoint.json"), _flip(home / "serving" / "store" / "goodsight-1" / "candidate" / SIGNATURE)),
        {"ledger": "ledger.checkpoint.json", "served": "goodsight-1/candidate/model.sig"},
    ),
}


def _sql(home: Path, *statements: str) -> None:
    with sqlite3.connect(home / "ledger.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_altered_is_named(home: Path, damage: str) -> None:
    act, wanted = DAMAGES[damage]
    act(home)
    found(**wanted)


def test_bytes_of_the_data_are_read_when_asked(home: Path) -> None:
    for kept in (home / "data").rglob("*"):
        if kept.is_file() and "files" in kept.parts and kept.stat().st_size > 1000:
            _flip(kept)
    assert not checks()[-1]["fault"]
    assert "catalogue version shop-" in checks("--deep")[-1]["name"] and checks("--deep")[-1]["fault"]


def test_a_candidate_under_another_version_is_named(home: Path) -> None:
    client = registry.connect()
    digest = client.get_model_version("goodsight", "1").tags["candidate"]
    client.set_model_version_tag("goodsight", "1", "candidate", "d" * 64)
    found(registered=f"candidate.json is {digest[:12]}, not dddddddddddd as recorded")
    client.set_model_version_tag("goodsight", "1", "candidate", digest)


def test_keys_are_shown_rotated_and_withdrawn_and_the_ledger_says_so(home: Path) -> None:
    old = keys.current()
    assert audit("keys", "show").stdout == f"{old}  signs\n"
    assert audit("keys", "rotate", "--reason", "a year is over").exit_code == 0
    new = keys.current()
    assert json.loads(audit("keys", "show", "--json").stdout) == {"signs": new, "trusted": sorted([old, new])}
    assert not any(check["fault"] for check in checks())
    assert isinstance(audit("keys", "distrust", new[:12], "--reason", "no").exception, GoodsightError)
    assert isinstance(audit("keys", "distrust", old[:12], "--reason", " ").exception, GoodsightError)
    assert old in keys.trusted()
    assert audit("keys", "distrust", old[:12], "--reason", "the laptop was lost").exit_code == 0
    events = Ledger(settings().ledger_url).events("key")
    assert [(event.payload["action"], event.subjects) for event in events] == [("rotate", [new]), ("distrust", [old])]
    assert [event.payload["reason"] for event in events] == ["a year is over", "the laptop was lost"]
    found(registered=f"is by the key '{old[:12]}'", served=f"is by the key '{old[:12]}'")


def test_a_restored_ledger_is_accepted_with_a_reason(home: Path) -> None:
    _sql(home, "DELETE FROM events", "DELETE FROM subjects")
    assert isinstance(audit("accept", "--reason", "").exception, GoodsightError)
    assert audit("accept", "--reason", "restored from Monday").exit_code == 0
    assert checks()[0]["found"] == "1 events, an unbroken chain; checkpoint at event 1"
