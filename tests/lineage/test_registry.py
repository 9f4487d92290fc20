"""The registry: one version a candidate, told to the ledger, with all that an auditor asks for and all that it takes to serve it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from goodsight.digests import sha256_file, sha256_folder
from goodsight.errors import BusyError, InputError
from goodsight.settings import settings
from lineage import record, registry
from lineage.ledger import Ledger
from tests.lineage.registered import FIGURES, register

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.usefixtures("home")


def runs() -> list[Run]:
    client = registry.connect()
    experiment = client.get_experiment_by_name("goodsight")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_a_version_has_its_run_with_everything_an_auditor_asks_for(work: Path, home: Path) -> None:
    version = register(work, "a", learning_rate=0.001, steps=300)
    client = registry.connect()
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
        "decision": "promote",
    }
    [event] = Ledger(settings().ledger_url).events("registration")
    assert event.payload == {"version": version, **found.tags} and event.actor == "pipeline"
    assert event.subjects == ["a" * 64, "5" * 64, found.tags["verdict"]]
    places = {path.path for path in client.list_artifacts(run.info.run_id)}
    assert places == {"candidate", "evaluation", "plots", "verdict"}
    assert (home / "mlartifacts" / run.info.run_id / "artifacts" / "plots" / "confusion.png").read_text() == "png"


def test_the_same_candidate_is_registered_once(work: Path) -> None:
    assert [register(work, "a"), register(work, "a"), register(work, "b")] == ["1", "1", "2"]
    assert len(registry.connect().search_model_versions("name = 'goodsight'")) == 2
    assert len(runs()) == 2


def test_the_alias_candidate_is_the_one_registered_last(work: Path) -> None:
    for name, version in (("a", "1"), ("b", "2"), ("a", "1")):
        register(work, name)
        assert registry.aliases(registry.connect()) == {"candidate": version}

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
    assert not registry.connect().search_model_versions("name = 'goodsight'")
    figures.write_text(json.dumps(FIGURES))
    assert register(work, "a") == "1"


def test_while_mlflow_is_away_nothing_is_registered_and_then_all_of_it(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", "http://127.0.0.1:9")  # discard, where nobody listens
    settings.cache_clear()
    with pytest.raises(BusyError, match="MLflow at http://127.0.0.1:9 does not answer"):
        register(work, "a")
    assert not Ledger(settings().ledger_url).events("registration")
    monkeypatch.delenv("GOODSIGHT_TRACKING_URI")
    settings.cache_clear()
    assert register(work, "a") == "1"
    assert len(Ledger(settings().ledger_url).events("registration")) == 1


def test_the_ui_command_names_the_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.ui_command() == f"mlflow ui --backend-store-uri sqlite:///{home}/mlflow.db --host 127.0.0.1"
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", "https://mlflow.example")
    settings.cache_clear()
    assert registry.ui_command() == "xdg-open https://mlflow.example"


def test_who_learned_from_a_revision_is_found(work: Path) -> None:
    assert registry.trained_on(["data/furniture"]) == []
    versions = [register(work, name) for name in "ab"]
    assert registry.trained_on(["data/furniture", "other"]) == versions and registry.trained_on(["other"]) == []


def test_versions_and_one_of_them_are_told(work: Path) -> None:
    register(work, "a", seed=17)
    register(work, "b")
    first, second = registry.versions()
    assert (first["version"], first["candidate"], first["revision"], first["decision"]) == ("1", "a" * 64, "data/furniture", "promote")
    assert (first["aliases"], second["aliases"], first["index"]) == ([], ["candidate"], None)
    assert first["metrics"]["leaf_accuracy"] == 0.5 and first["registered"].endswith("+00:00")
    one = registry.describe("1")
    assert (one["metrics"], one["baselines"], one["params"]) == (FIGURES["metrics"], FIGURES["baselines"], {"seed": "17"})
    assert (one["bundles"], one["provenance"]) == ({"retrieve": "a" * 64}, {"retrieve": {"code": "a"}})
    for ask in (registry.describe, registry.parts_of):
        with pytest.raises(InputError, match="no version '7'"):
            ask("7")


def parts(work: Path, index: str = "index-a", features: bool = True) -> registry.Parts:
    probes = [{"name": "a sofa", "request": {"task": "search", "text": "sofa"}}]
    return registry.Parts(work / "a", work / index, work / "plots" if features else None, probes)


@pytest.mark.parametrize("features", [True, False])
def test_what_a_version_is_served_with_is_kept_with_it(work: Path, features: bool) -> None:
    version, given = register(work, "a"), parts(work, features=features)
    with pytest.raises(InputError, match="Version 1 has no index: its run ended before deployment"):
        registry.parts_of(version)
    for _ in range(2):
        registry.keep_parts(version, given)
    kept = registry.parts_of(version)
    for ours, theirs in ((given.candidate, kept.candidate), (given.index, kept.index), (given.features, kept.features)):
        assert ours == theirs is None or ours and theirs and sha256_folder(ours) == sha256_folder(theirs)
    assert kept.probes == given.probes


def test_the_index_of_a_version_may_be_made_anew_until_it_serves(work: Path) -> None:
    version = register(work, "a")
    for name in ("index-a", "index-b"):
        registry.keep_parts(version, parts(work, name))
    assert sha256_folder(registry.parts_of(version).index) == sha256_folder(work / "index-b")
    record.deploy({"version": version, "candidate": "a" * 64, "index": "B" * 64}, ["a sofa"], "pipeline", "")
    with pytest.raises(InputError, match="Version 1 was served with the index BBBBBBBBBBBB"):
        registry.keep_parts(version, parts(work, "index-a"))
    registry.keep_parts(version, parts(work, "index-b"))
