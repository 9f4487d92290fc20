"""The step `pretrain` on a cluster: a TrainJob is made, followed, made again when its pods are lost, and deleted when cancelled.

The cluster is that of tests/cluster.py, whose pods are real processes. Where what they do does not matter, they run a line of
Python; `test_a_lost_node_costs_nothing` trains.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from checks.manifests import Manifests
from checks.schemas import schemas
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

from components import train_job
from components.steps.finish import finish
from components.steps.pretrain import pretrain
from components.train_job import TrainJob
from goodsight.errors import GoodsightError, InputError, RefusedError
from goodsight.progress import parse
from goodsight.settings import settings
from lineage.ledger import Ledger
from tests.cluster import TOKEN, Cluster, real_cluster
from tests.components.jobs import NAME, beside, cluster, data, says

__all__ = ["cluster", "data"]

PROGRESS = '@goodsight {"kind": "progress", "what": "pretraining", "unit": "steps", "done": 1, "total": 2}'
ERROR = '@goodsight {"kind": "error", "name": "pretrain", "type": "%s", "message": "the table is empty", "hint": "import again"}'


def command(job: dict[str, Any]) -> list[str]:
    return job["spec"]["trainer"]["command"]


def environment(job: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in job["spec"]["trainer"]["env"]}


def test_the_job_says_what_the_runtime_leaves_open(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"NODES": "2", "GPUS": "4", "CPUS": "32", "MEMORY": "128Gi", "IMAGE": "example.org/train:1"}
    for name, value in {**wanted, "NODE_SELECTOR": "gpu=h100,zone=a"}.items():
        monkeypatch.setenv(f"GOODSIGHT_TRAIN_{name}", value)
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-1")
    settings.cache_clear()
    cluster.program = says("trained")
    TrainJob(NAME).train(["--size", "tiny"])
    (job,) = cluster.made
    assert TrainerV1alpha1TrainJob.from_dict(job).metadata.name == NAME
    assert list(schemas(Manifests([job]))) == []
    spec = job["spec"]
    assert spec["runtimeRef"] == {"kind": "TrainingRuntime", "name": "goodsight-torch"}
    assert (spec["trainer"]["image"], spec["trainer"]["numNodes"]) == ("example.org/train:1", 2)
    resources = {"cpu": "32", "memory": "128Gi", "nvidia.com/gpu": "4"}
    assert spec["trainer"]["resourcesPerNode"] == {"limits": resources, "requests": resources}
    assert command(job) == ["python", "-m", "components.trainer", "--processes", "4", "--size", "tiny"]
    assert environment(job) == {
        "GOODSIGHT_HOME": str(settings().root),
        "GOODSIGHT_RUN_ID": "run-1",
        "GOODSIGHT_THREADS": "8",
        "OMP_NUM_THREADS": "8",
    }
    assert job["metadata"]["labels"]["goodsight/run"] == "run-1"
    (patch,) = spec["runtimePatches"]
    (jobs,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert jobs["name"] == "node"
    assert jobs["template"]["spec"]["template"]["spec"] == {"nodeSelector": {"gpu": "h100", "zone": "a"}}


def test_two_nodes_know_each_other(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GOODSIGHT_TRAIN_NODES", "2")
    settings.cache_clear()
    code = "import sys; from components.trainer import launch; sys.exit(launch(1, sys.argv[1:]))"
    cluster.program = [sys.executable, "-c", code, "tests.components.ranks", "add", "0", "0", str(cluster.folder)]
    TrainJob(NAME).train([])
    assert [path.read_text() for path in sorted(cluster.folder.glob("sum-*"))] == ["3 of 2", "3 of 2"]


def test_what_the_first_node_says_is_what_the_step_says(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.program = says("loading", PROGRESS, "größer")
    TrainJob(NAME).train([])
    assert capsys.readouterr().out.splitlines()[1:] == ["loading", PROGRESS, "größer"]
    assert not cluster.jobs


def test_a_log_that_breaks_off_is_read_on_and_no_line_is_said_twice(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_job, "QUIET_SECONDS", 0.2)
    gate = cluster.folder / "go"
    code = f"import os\nprint('one', flush=True)\nos.mkfifo({str(gate)!r})\nopen({str(gate)!r}).read()\nprint('two')"
    cluster.program = [sys.executable, "-c", code]

    def let_go() -> None:
        cluster.running(saying="one")
        cluster.wait_for(lambda: cluster.follows >= 3)
        gate.write_text("go")

    thread = beside(let_go)
    TrainJob(NAME).train([])
    thread.join()
    assert [line for line in capsys.readouterr().out.splitlines() if line in ("one", "two")] == ["one", "two"]


@pytest.mark.parametrize("kind, status", [(InputError, 2), (RefusedError, 3)])
def test_what_a_retry_cannot_mend_is_raised_as_it_was_and_not_tried_again(
    kind: type[GoodsightError], status: int, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.program = says("loading", ERROR % kind.__name__, status=status)
    with pytest.raises(kind, match="the table is empty") as raised:
        TrainJob(NAME).train([])
    assert (raised.value.hint, raised.value.exit_code) == ("import again", status)
    assert len(cluster.made) == 1
    assert not any((parse(line) or {}).get("kind") == "error" for line in capsys.readouterr().out.splitlines())  # the step will say it


def test_the_error_of_a_node_whose_log_is_not_followed_is_found(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_TRAIN_NODES", "2")
    settings.cache_clear()
    code = f"import os, signal, sys\nif os.environ['PET_NODE_RANK'] == '0': signal.pause()\nprint({ERROR % 'InputError'!r})\nsys.exit(2)"
    cluster.program = [sys.executable, "-c", code]
    with pytest.raises(InputError, match="the table is empty"):
        TrainJob(NAME).train([])


def test_an_error_nobody_foresaw_is_told_with_the_last_line_and_not_tried_again(cluster: Cluster) -> None:
    cluster.program = says("Traceback", "ZeroDivisionError: division by zero", status=1)
    with pytest.raises(GoodsightError, match="status 1: ZeroDivisionError") as raised:
        TrainJob(NAME).train([])
    assert raised.value.exit_code == 1 and "kubectl logs" in raised.value.hint
    assert len(cluster.made) == 1


def test_a_pod_that_needs_more_memory_says_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.program = says("loading", wait=True)

    def kill() -> None:
        pod = cluster.running(saying="ready")
        pod.reason = "OOMKilled"
        pod.signal(signal.SIGKILL)

    beside(kill)
    with pytest.raises(InputError, match="more memory than 16Gi"):
        TrainJob(NAME).train([])
    assert len(cluster.made) == 1


def test_what_failed_for_good_in_this_run_is_told_again_and_another_run_tries_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-1")
    cluster.program = says(ERROR % "InputError", status=2)
    for _ in range(2):
        with pytest.raises(InputError, match="the table is empty"):
            TrainJob(NAME).train([])
    assert len(cluster.made) == 1
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-2")
    cluster.program = says("trained")
    TrainJob(NAME).train([])
    assert len(cluster.made) == 2


def test_a_run_that_ended_leaves_no_job_behind(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step may have been killed before it could delete it."""
    cluster.program = says("training", wait=True)
    for run in ("run-1", "run-2"):
        monkeypatch.setenv("GOODSIGHT_RUN_ID", run)
        TrainJob(f"pretrain-of-{run}")._create([])
    finish("retrain-1", "run-1", "shop-1", "FAILED", "the pod was killed")
    assert list(cluster.jobs) == ["pretrain-of-run-2"]
    (told,) = Ledger(settings().ledger_url).events("run")
    assert (told.payload["run_id"], told.payload["kubeflow"], told.payload["state"]) == ("retrain-1", "run-1", "FAILED")


def test_why_pods_wait_is_told_once(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.held, cluster.program = True, says("trained")

    def schedule() -> None:
        pod = cluster.wait_for(lambda: next(iter(cluster.pods.values()), None))
        cluster.warn("another-pod", "BackOff", "of no concern")
        cluster.warn(pod.name, "FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
        before = cluster.lists
        cluster.wait_for(lambda: cluster.lists > before + 3)
        cluster.release()

    thread = beside(schedule)
    TrainJob(NAME).train([])
    thread.join()
    warnings = [event["text"] for line in capsys.readouterr().out.splitlines() if (event := parse(line)) and event["kind"] == "warning"]
    assert len(warnings) == 1 and "Insufficient nvidia.com/gpu" in warnings[0]


def test_an_api_server_that_stumbles_is_asked_again(cluster: Cluster) -> None:
    cluster.program = says("trained")
    cluster.faults = [503, 500, 429, 503]
    TrainJob(NAME).train([])
    assert len(cluster.made) == 1 and not cluster.faults


def test_a_cluster_that_refuses_is_no_matter_of_trying_again(cluster: Cluster) -> None:
    cluster.refused = {"POST": 403}
    with pytest.raises(InputError, match="403.*forbidden"):
        TrainJob(NAME).train([])


def test_a_missing_runtime_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_TRAIN_RUNTIME", "nowhere")
    settings.cache_clear()
    with pytest.raises(InputError, match="no TrainingRuntime nowhere"):
        TrainJob(NAME).train([])


def test_without_a_cluster_the_setting_is_named(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="No cluster") as raised:
        TrainJob(NAME)
    assert "GOODSIGHT_TRAIN_RUNTIME" in raised.value.hint


def test_secrets_are_neither_in_the_job_nor_in_the_log(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ["a-password-of-redis", "a-password-of-the-ledger", TOKEN]
    monkeypatch.setenv("GOODSIGHT_ONLINE_STORE", f"redis://:{secrets[0]}@redis:6379/0")
    monkeypatch.setenv("GOODSIGHT_LEDGER_URI", f"postgresql://ledger:{secrets[1]}@postgres/ledger")
    settings.cache_clear()
    caplog.set_level("DEBUG")
    cluster.program = says("trained")
    TrainJob(NAME).train([])
    cluster.refused = {"POST": 403}
    with pytest.raises(InputError) as refused:
        TrainJob(NAME).train([])
    told = [str(cluster.made), str(refused.value), *capfd.readouterr(), caplog.text]
    assert not [secret for secret in secrets for text in told if secret in text]


def test_a_configuration_that_cannot_train_fails_once(data: tuple[Path, Path], cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="transformer"):
        pretrain(*data, "transformer", "tiny", 3, tmp_path / "bundle", tmp_path / "curve.jsonl")
    assert len(cluster.made) == 1
    assert not (tmp_path / "bundle").exists()


@pytest.mark.skipif(not real_cluster(), reason="needs KUBECONFIG and GOODSIGHT_TEST_CLUSTER=1: a cluster with an overlay of k8s/")
def test_a_real_cluster_runs_the_trainer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GOODSIGHT_TRAIN_RUNTIME", os.environ.get("GOODSIGHT_TRAIN_RUNTIME", "goodsight-torch"))
    settings.cache_clear()
    TrainJob("pretrain-of-the-tests").train(["--help"])
    assert "--snapshot" in capsys.readouterr().out
