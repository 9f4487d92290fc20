"""The compiled pipeline: its graph, its images, its code digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from goodsight.settings import IMAGE
from pipelines.bulk import PODS
from pipelines.compile import compile_pipeline
from pipelines.retrain import CODE

DATA = ["features-component", "pretrain-component", "evaluate-component", "gate-component"]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = compile_pipeline(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture(scope="module")
def spec(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


def tasks(dag: dict[str, Any]) -> dict[str, Any]:
    return dag["dag"]["tasks"]


def test_the_graph_is_the_way_of_the_data(spec: dict[str, Any]) -> None:
    root = tasks(spec["root"])
    assert root["finish-component"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    guarded = tasks(spec["components"]["comp-exit-handler-1"])
    assert set(guarded) == {"snapshot-component", "validate-component", "condition-2"}
    assert guarded["validate-component"]["dependentTasks"] == ["snapshot-component"]
    assert "'passed'" in guarded["condition-2"]["triggerPolicy"]["condition"]
    passed = tasks(spec["components"]["comp-condition-2"])
    assert set(DATA) < set(passed)
    assert passed["pretrain-component"]["dependentTasks"] == ["features-component"]
    assert set(passed["gate-component"]["dependentTasks"]) == {"evaluate-component"}
    promoted = [dag for name, dag in spec["components"].items() if "register-component" in dag.get("dag", {}).get("tasks", {})]
    assert set(tasks(promoted[0])) == {"register-component", "index-component", "deploy-component"}
    assert set(tasks(promoted[0])["deploy-component"]["dependentTasks"]) == {"register-component", "index-component"}


def test_fine_tuning_loops_over_the_tasks(spec: dict[str, Any]) -> None:
    passed = tasks(spec["components"]["comp-condition-2"])
    loops = [task for task in passed.values() if "parameterIterator" in task]
    assert len(loops) == 1
    assert loops[0]["parameterIterator"]["items"]["raw"] == '["categorize", "retrieve"]'


def test_every_component_names_the_image(spec: dict[str, Any]) -> None:
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == 11
    assert {executor["container"]["image"] for executor in executors.values()} == {IMAGE}
    assert not any("pip install" in " ".join(executor["container"]["command"]) for executor in executors.values())


def test_every_step_carries_the_digest_of_its_code(spec: dict[str, Any]) -> None:
    text = str(spec)
    for name, digest in CODE.items():
        assert digest in text, name
    assert len(set(CODE.values())) == len(CODE)


def test_training_asks_for_resources(spec: dict[str, Any]) -> None:
    container = spec["deploymentSpec"]["executors"]["exec-pretrain-component"]["container"]
    assert container["resources"]["resourceMemoryLimit"] == "16G"


def test_every_pod_has_home_the_databases_and_lineage_by_reference(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods.keys() == spec["deploymentSpec"]["executors"].keys()
    for pod in pods.values():
        assert [(volume["constant"], volume["mountPath"]) for volume in pod["pvcMount"]] == [("goodsight-home", "/var/lib/goodsight")]
        (secret,) = pod["secretAsEnv"]
        assert (secret["secretName"], secret["optional"]) == ("goodsight", True)
        lineage = {"OPENLINEAGE_URL", "OPENLINEAGE_ENDPOINT", "OPENLINEAGE_API_KEY"}
        assert {pair["envVar"] for pair in secret["keyToEnv"]} == {"GOODSIGHT_TRACKING_URI", "GOODSIGHT_LEDGER_URI", *lineage}
        assert pod["fieldPathAsEnv"] == [{"name": "GOODSIGHT_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = compile_pipeline(tmp_path / "a.yaml").read_bytes(), compile_pipeline(tmp_path / "b.yaml").read_bytes()
    assert first == second


def test_the_bulk_pipeline_makes_its_parts_side_by_side_and_joins_them(tmp_path: Path) -> None:
    spec, platform = yaml.safe_load_all(compile_pipeline(tmp_path / "bulk.yaml", "bulk").read_text())
    root = tasks(spec["root"])
    (loop,) = (task for task in root.values() if "parameterIterator" in task)
    assert loop["iteratorPolicy"]["parallelismLimit"] == PODS
    assert loop["dependentTasks"] == ["bulk-parts-component", "snapshot-component"]
    assert root["bulk-merge-component"]["dependentTasks"] == [loop["componentRef"]["name"].removeprefix("comp-")]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(pod["pvcMount"][0]["constant"] == "goodsight-home" for pod in pods.values())
