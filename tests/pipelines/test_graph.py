"""The compiled pipeline: its graph, its images, its code digests."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from goodsight.settings import IMAGE, Settings
from pipelines.bulk import PODS
from pipelines.compile import compile_pipeline
from pipelines.pods import RETRIES
from pipelines.retrain import CODE

SETTINGS = {f"GOODSIGHT_{name.upper()}" for name in Settings.model_fields}
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
    assert set(guarded) == {"resolve-component", "snapshot-component", "validate-component", "condition-2"}
    assert guarded["snapshot-component"]["dependentTasks"] == ["resolve-component"]
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
    assert len(executors) == 12
    assert {executor["container"]["image"] for executor in executors.values()} == {IMAGE}
    assert not any("pip install" in " ".join(executor["container"]["command"]) for executor in executors.values())


def test_every_step_carries_the_digest_of_its_code(spec: dict[str, Any]) -> None:
    text = str(spec)
    for name, digest in CODE.items():
        assert digest in text, name
    assert len(set(CODE.values())) == len(CODE)


def test_what_changes_by_itself_is_asked_anew_in_every_run(spec: dict[str, Any]) -> None:
    """A recurring run has the same arguments every time: the newest data, and the champion of the day."""
    asked = {name: one["defaultValue"] for name, one in spec["root"]["inputDefinitions"]["parameters"].items() if "defaultValue" in one}
    assert (asked["revision"], asked["champion"], asked["overrides"]) == ("newest", "current", "current")
    guarded = tasks(spec["components"]["comp-exit-handler-1"])
    assert not guarded["resolve-component"].get("cachingOptions", {}).get("enableCache")
    assert guarded["snapshot-component"]["cachingOptions"]["enableCache"]
    passed = spec["components"]["comp-condition-2"]
    for name, argument in (("evaluate-component", "champion"), ("gate-component", "overrides")):
        given = tasks(passed)[name]["inputs"]["parameters"][argument]["componentInputParameter"]
        assert given == f"pipelinechannel--resolve-component-{argument}", name


def test_every_step_has_limits_of_resources_and_time_and_is_tried_again(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["resourceCpuLimit"] == resources["resourceCpuRequest"], name
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"], name
        assert 3600 <= int(pods[name]["activeDeadlineSeconds"]) <= 7 * 24 * 3600, name
    dags = [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]
    steps = {name: task for dag in dags for name, task in tasks(dag).items() if name.endswith("-component")}
    assert len(steps) == len(spec["deploymentSpec"]["executors"])
    assert {task["retryPolicy"]["maxRetryCount"] for task in steps.values()} == {RETRIES}


def test_training_asks_for_more(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    for name in ("exec-pretrain-component", "exec-finetune-component"):
        assert spec["deploymentSpec"]["executors"][name]["container"]["resources"]["resourceMemoryLimit"] == "16G"
        (memory,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]["emptyDirMounts"]
        assert (memory["mountPath"], memory["medium"], memory["sizeLimit"]) == ("/dev/shm", "Memory", "4Gi")


def test_every_pod_has_home_settings_and_secrets_by_reference(documents: list[dict[str, Any]]) -> None:
    spec, platform = documents
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods.keys() == spec["deploymentSpec"]["executors"].keys()
    secrets = {f"GOODSIGHT_{name.upper()}" for name, field in Settings.model_fields.items() if isinstance(field.default, SecretStr)}
    for pod in pods.values():
        assert [(volume["constant"], volume["mountPath"]) for volume in pod["pvcMount"]] == [("goodsight-home", "/var/lib/goodsight")]
        (secret,) = pod["secretAsEnv"]
        assert (secret["secretName"], secret["optional"]) == ("goodsight", True)
        by_secret = {pair["envVar"] for pair in secret["keyToEnv"]}
        assert by_secret >= {"GOODSIGHT_LEDGER_URI", "GOODSIGHT_ONLINE_STORE", "OPENLINEAGE_URL", "OPENLINEAGE_API_KEY"}
        (config,) = pod["configMapAsEnv"]
        assert (config["configMapName"], config["optional"]) == ("goodsight-settings", True)
        by_config = {pair["envVar"] for pair in config["keyToEnv"]}
        assert by_config >= {"GOODSIGHT_TRAIN_RUNTIME", "GOODSIGHT_TRAIN_GPUS", "GOODSIGHT_NAMESPACE"}
        assert not by_config & secrets
        assert {name for name in by_config | by_secret if name.startswith("GOODSIGHT_")} <= SETTINGS
        assert pod["fieldPathAsEnv"] == [{"name": "GOODSIGHT_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]


def test_no_pod_runs_as_root(documents: list[dict[str, Any]]) -> None:
    for pod in documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True}
        assert pod["podMetadata"]["labels"]["app.kubernetes.io/name"] == "pipeline-steps"


def test_on_one_machine_a_failed_step_is_told_at_once(spec: dict[str, Any]) -> None:
    from pipelines.local import _on_this_machine
    from pipelines.retrain import retrain

    ours = _on_this_machine(deepcopy(retrain)).pipeline_spec
    dags = (ours.root.dag, *(each.dag for each in ours.components.values()))
    all_tasks = {name: task for dag in dags for name, task in dag.tasks.items()}
    assert not any(task.HasField("retry_policy") for task in all_tasks.values())
    assert all_tasks["resolve-component"].caching_options.enable_cache


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
