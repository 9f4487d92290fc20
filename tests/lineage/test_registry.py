"""The registry: one version a candidate, aliases that move through the ledger, and artifacts found again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from goodsight.digests import sha256_file, sha256_folder
from goodsight.errors import BusyError, InputError
from goodsight.settings import settings
from lineage import registry
from lineage.ledger import Ledger

if TYPE_CHECKING:
    from mlflow.entities import Run

SNAPSHOT = {"name": "furniture", "digest": "5" * 64, "source": "data/furniture"}
FIGURES = {"metrics": {"query_to_product_recall@1": 0.75, "leaf_accuracy": 0.5}, "baselines": {"tfidf": 0.25}}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content: making them takes seconds, so each test starts from a copy."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(autouse=True)
def home(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    (tmp_path / "home").mkdir()
    shutil.copy(empty_store, tmp_path / "home")
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two candidates `a` and `b`, `evaluation`, `plots` and `verdict.json`, as the pipeline's steps make them."""
    for name in ("a", "b"):
        (tmp_path / name / "retrieve").mkdir(parents=True)
        (tmp_path / name / "retrieve" / "weights.safetensors").write_text(name)
        described = {"digest": name * 64, "bundles": {}, "snapshot": "5" * 64, "architecture": "commercemm"}
        (tmp_path / name / "candidate.json").write_text(json.dumps(described))
    for name, file, text in (("evaluation", "metrics.json", json.dumps(FIGURES)), ("plots", "confusion.png", "png")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    (tmp_path / "verdict.json").write_text('{"decision": "promote"}')
    return tmp_path


def register(work: Path, name: str, **params: Any) -> str:
    folders = {"candidate": work / name, "evaluation": work / "evaluation", "plots": work / "plots"}
    verdict, run_name = work / "verdict.json", f"run of {name}"
    return registry.register(verdict=verdict, snapshot=SNAPSHOT, params=params, run_name=run_name, **folders)


def runs() -> list[Run]:
    client = registry._client()
    experiment = client.get_experiment_by_name("goodsight")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def moves() -> list[dict[str, Any]]:
    return [event.payload for event in Ledger(settings().ledger_url).events("alias_move")]


def test_a_version_has_its_run_with_everything_an_auditor_asks_for(work: Path, home: Path) -> None:
    version = register(work, "a", learning_rate=0.001, steps=300)
    client = registry._client()
    found = client.get_model_version("goodsight", version)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"learning_rate": "0.001", "steps": "300"}
    figures = {"query_to_product_recall_at_1": 0.75, "leaf_accuracy": 0.5, "baseline/tfidf": 0.25}
    assert run.data.metrics == figures
    (dataset,) = run.inputs.dataset_inputs if run.inputs else []
    assert (dataset.dataset.name, dataset.dataset.digest) == ("furniture", "5" * 36)
    assert json.loads(dataset.dataset.source) == {"uri": "data/furniture"}
    assert found.tags == {
        "candidate": "a" * 64,
        "snapshot": "5" * 64,
        "revision": "data/furniture",
        "architecture": "commercemm",
        "verdict": sha256_file(work / "verdict.json"),
    }
    places = {path.path for path in client.list_artifacts(run.info.run_id)}
    assert places == {"candidate", "evaluation", "plots", "verdict"}
    assert (home / "mlartifacts" / run.info.run_id / "artifacts" / "plots" / "confusion.png").read_text() == "png"


def test_the_same_candidate_is_registered_once(work: Path) -> None:
    assert [register(work, "a"), register(work, "a"), register(work, "b")] == ["1", "1", "2"]
    assert len(registry._client().search_model_versions("name = 'goodsight'")) == 2
    assert len(runs()) == 2


def test_a_missing_folder_is_refused_before_anything_is_written(work: Path) -> None:
    (work / "plots").rename(work / "elsewhere")
    with pytest.raises(InputError, match="plots is missing"):
        register(work, "a")
    assert runs() == []


def test_a_registration_that_failed_leaves_no_version_and_can_be_repeated(work: Path) -> None:
    figures = work / "evaluation" / "metrics.json"
    figures.write_text('{"metrics": {"an odd name!": 1.0}, "baselines": {}}')
    with pytest.raises(Exception, match="an odd name!"):
        register(work, "a")
    (run,) = runs()
    assert run.info.status == "FAILED"
    assert not registry._client().search_model_versions("name = 'goodsight'")
    figures.write_text(json.dumps(FIGURES))
    assert register(work, "a") == "1"


def test_champion_moves_keep_the_previous_one_and_are_in_the_ledger(work: Path) -> None:
    assert registry.champion() is None
    one, two = register(work, "a"), register(work, "b")
    assert registry.champion() is None
    for version in (one, two, two, one):
        registry.set_champion(version)
    assert [(move["version"], move["previous"]) for move in moves()] == [("1", None), ("2", "1"), ("1", "2")]
    found = registry.champion()
    assert found is not None
    assert (found["version"], found["digest"], found["architecture"]) == ("1", "a" * 64, "commercemm")
    assert found["snapshot"] == "5" * 64
    assert sha256_folder(found["candidate"]) == sha256_folder(work / "a")
    assert sha256_folder(found["evaluation"]) == sha256_folder(work / "evaluation")
    assert registry._client().get_model_version_by_alias("goodsight", "previous").version == 2


def test_no_alias_moves_when_the_ledger_cannot_take_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = register(work, "a")
    monkeypatch.setattr("lineage.database.BUSY_SECONDS", 0.1)
    Ledger(settings().ledger_url)
    holder = sqlite3.connect(settings().root / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError):
        registry.set_champion(version)
    holder.close()
    assert registry.champion() is None


def test_an_unknown_version_is_refused(work: Path) -> None:
    register(work, "a")
    for version in ("7", "newest"):
        with pytest.raises(InputError, match=f"no version '{version}'"):
            registry.set_champion(version)
    assert moves() == []


def test_the_ui_command_names_the_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.ui_command() == f"mlflow ui --backend-store-uri sqlite:///{home}/mlflow.db --host 127.0.0.1"
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", "https://mlflow.example")
    settings.cache_clear()
    assert registry.ui_command() == "xdg-open https://mlflow.example"


def test_who_learned_from_a_revision_is_found(work: Path) -> None:
    assert registry.trained_on(["data/furniture"]) == []
    versions = [register(work, name) for name in "ab"]
    assert registry.trained_on(["data/furniture", "other"]) == versions and registry.trained_on(["other"]) == []
