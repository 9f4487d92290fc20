"""Server, ledger and champion move together: a version takes over, is taken back with its index, or nothing has moved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import ConflictError, GoodsightError, InputError, RefusedError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage import champion, registry
from lineage.ledger import Ledger
from serving.client import Client
from serving.deploy import Probe, current, store
from serving.management import Management
from serving.promotion import promote, rollback, take_over

pytestmark = pytest.mark.torchserve
PROBES = [Probe("search a red sofa", {"task": "search", "text": "red sofa"})]


@pytest.fixture(scope="module")
def world(made: Any, other: Any, serve: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which `made` and `other` are the versions 1 and 2; 1 was deployed, then 2, and a server is up. Tests go on from there."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("promotion")
        use(patch, folder / "home")
        for version, each in enumerate((made, other), start=1):
            assert register(folder, each.candidate) == str(version)
        take_over("1", parts(made), None, "pipeline", "promoted by the gate", settings().root)
        assert serve(folder / "home").first_line.startswith("Serving version 1")
        take_over("2", parts(other), "1", "pipeline", "promoted by the gate", settings().root)
    return folder / "home"


@pytest.fixture(autouse=True)
def home(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use(monkeypatch, world)
    return world


def use(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setenv("GOODSIGHT_HOME", str(home))
    settings.cache_clear()


def parts(made: Any) -> registry.Parts:
    return registry.Parts(made.candidate, made.index, None, [asdict(probe) for probe in PROBES])


def register(folder: Path, candidate: Path) -> str:
    for name in ("evaluation", "plots"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "evaluation" / "metrics.json").write_text('{"metrics": {}, "baselines": {}}')
    (folder / "verdict.json").write_text('{"decision": "promote"}')
    snapshot = {"name": "shop", "digest": "s" * 64, "source": "shop-1"}
    return registry.register(candidate, folder / "evaluation", folder / "verdict.json", snapshot, {}, folder / "plots", "run")


def told() -> list[tuple[str, str, str, str]]:
    """(kind, actor, version, previous) of the events about who serves."""
    kinds = ("deploy", "rollback", "alias_move")
    events = [event for event in Ledger(settings().ledger_url).events() if event.kind in kinds]
    return [(event.kind, event.actor, event.payload["version"], event.payload["previous"]) for event in events]


def serving(home: Path, version: str, made: Any) -> bool:
    """Whether this version answers with its own index, and everything else says so too."""
    answer, now, served = Client.connect(home).search("red sofa"), champion.current(), current(home)
    index = read_json(made.index / "index.json")["digest"]
    assert now and served
    held = registry.aliases(registry.connect())["champion"]
    return (
        (answer["model_version"], answer["candidate"], answer["index"]) == (version, made.digest, index)
        and now.version == served.version == held == version
        and (now.candidate, served.index) == (made.digest, index)
    )


DEPLOYED = [
    ("deploy", "pipeline", "1", None),
    ("alias_move", "pipeline", "1", None),
    ("deploy", "pipeline", "2", "1"),
    ("alias_move", "pipeline", "2", "1"),
]
BACK = [("rollback", "Ada", "1", "2"), ("alias_move", "Ada", "1", "2")]


def test_a_rollback_returns_the_previous_champion_and_its_index_and_both_moves_are_in_the_ledger(home: Path, made: Any, other: Any) -> None:
    assert told() == DEPLOYED and serving(home, "2", other)
    back = rollback("Ada", "chairs got worse", home)
    assert (back.version, back.candidate, back.previous) == ("1", made.digest, "2")
    assert serving(home, "1", made)
    assert told() == DEPLOYED + BACK
    [event] = Ledger(settings().ledger_url).events("rollback")
    assert event.payload["reason"] == "chairs got worse"
    assert event.subjects == [made.digest, read_json(made.index / "index.json")["digest"]]
    first, second, third = champion.reigns()
    assert (first.until, second.until, third.until) == (second.since, third.since, None)
    assert (third.by, third.reason) == ("Ada", "chairs got worse")


def test_a_deployment_is_in_the_ledger_with_its_smoke_test(home: Path, other: Any) -> None:
    event = Ledger(settings().ledger_url).events("deploy")[1]
    index = read_json(other.index / "index.json")["digest"]
    assert event.subjects == [other.digest, index]
    assert (event.payload["candidate"], event.payload["index"], event.payload["smoke_test"]) == (other.digest, index, ["search a red sofa"])


def test_a_switch_that_fails_moves_nothing(home: Path, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told()

    def gone(self: Management, version: str) -> None:
        raise GoodsightError("The model server does not answer.")

    monkeypatch.setattr(Management, "set_default", gone)
    with pytest.raises(GoodsightError, match="does not answer"):
        rollback("Ada", "chairs got worse", home)
    monkeypatch.undo()
    use(monkeypatch, home)
    assert told() == before and serving(home, "1", made)


def test_a_champion_that_changes_during_the_smoke_test_is_kept_and_the_server_switched_back(
    home: Path, made: Any, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine, with a server of its own, makes version 2 champion while this one deploys, and takes it back later."""
    before, real = told(), Management.set_default

    def meanwhile(self: Management, version: str) -> None:
        real(self, version)
        if version == "3":
            champion.move("2", "1", "Ben", "better elsewhere")

    monkeypatch.setattr(Management, "set_default", meanwhile)
    third = make(tmp_path, 3)
    assert register(tmp_path, third.candidate) == "3"
    with pytest.raises(ConflictError, match=r"Version 2 is champion since .*, by Ben \(better elsewhere\), not version 1"):
        take_over("3", parts(third), "1", "Ada", "newer", home)
    champion.move("1", "2", "Ben", "after all not")
    assert serving(home, "1", made)
    assert told() == before + [("alias_move", "Ben", "2", "1"), ("alias_move", "Ben", "1", "2")]


def test_a_version_that_went_is_promoted_again_with_its_own_index(home: Path, other: Any) -> None:
    shutil.rmtree(store(home) / "goodsight-2")
    with pytest.raises(InputError, match="archive of version 2 is not in .*\n.*goodsight models promote 2"):
        rollback("Ada", "after all", home)
    promote("2", "Ada", "after all", home)
    assert serving(home, "2", other)
    assert told()[-2:] == [("deploy", "Ada", "2", "1"), ("alias_move", "Ada", "2", "1")]


def test_a_smoke_test_that_fails_promotes_nothing(home: Path, other: Any) -> None:
    before = told()
    run = registry.found(registry.connect(), "1").run_id
    registry.connect().log_dict(run, {"probes": [{"name": "no image", "request": {"task": "categorize", "image": "bm8="}}]}, "probes.json")
    with pytest.raises(RefusedError, match="'no image' failed"):
        promote("1", "Ada", "after all", home)
    assert told() == before and serving(home, "2", other)


@pytest.mark.parametrize("act", [lambda home: promote("1", "Ada", " ", home), lambda home: rollback("Ada", "", home)])
def test_a_person_gives_a_reason(home: Path, act: Callable[[Path], Any]) -> None:
    before = told()
    with pytest.raises(InputError, match="only for a reason"):
        act(home)
    assert told() == before


def test_a_first_version_has_nothing_to_go_back_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, tmp_path / "empty")
    with pytest.raises(InputError, match="no previous champion"):
        rollback("Ada", "chairs got worse", tmp_path / "empty")
