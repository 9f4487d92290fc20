"""Runs and schedules on Kubeflow Pipelines: what is sent, what is told, how the commands end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from goodsight.errors import EXIT_RETRY, BusyError, GoodsightError, InputError, NotFoundError
from goodsight.settings import settings
from pipelines import pipeline_command, submit
from pipelines.command import app
from pipelines.submit import six_fields
from tests.kubeflow import TOKEN, Kubeflow, kubeflow_pipelines

WEEKLY = ("pipeline", "schedule", "--name", "weekly", "--cron", "0 3 * * 1")


@pytest.fixture(autouse=True)
def kubeflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubeflow]:
    with kubeflow_pipelines() as server:
        monkeypatch.setenv("GOODSIGHT_KFP_ENDPOINT", server.url)
        monkeypatch.setenv("GOODSIGHT_KFP_TOKEN", TOKEN)
        settings.cache_clear()
        yield server


@pytest.fixture(autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled once for all of these tests."""
    kept = tmp_path_factory.getbasetemp() / "compiled"
    compile_pipeline = submit.compile_pipeline

    def once(out: Path, name: Any = "retrain") -> Path:
        package = kept / f"{name}.yaml"
        if not package.exists():
            compile_pipeline(package, name)
        out.write_bytes(package.read_bytes())
        return out

    monkeypatch.setattr(submit, "compile_pipeline", once)


def said(*arguments: str, status: int = 0) -> str:
    """What the command prints; an error of ours is raised, as `goodsight` itself would tell it."""
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, GoodsightError):
        raise done.exception
    assert done.exit_code == status, (done.output, done.exception)
    assert TOKEN not in done.output
    return done.output


def told(*arguments: str, status: int = 0) -> Any:
    return json.loads(said(*arguments, "--json", status=status).splitlines()[-1])


def submitted(*more: str) -> str:
    return told("pipeline", "submit", *more)["run"]


def test_a_run_has_both_documents_its_arguments_and_its_account(kubeflow: Kubeflow) -> None:
    run = told("pipeline", "submit", "--architecture", "scale", "--size", "tiny", "--seed", "3", "--release", "rollout")
    (sent,) = kubeflow.runs.values()
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "goodsight-retrain"
    assert "exec-pretrain-component" in sent["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    wanted = {"revision": "newest", "architecture": "scale", "size": "tiny", "seed": 3, "release": "rollout", "policy": ""}
    assert sent["runtime_config"]["parameters"] == wanted
    assert sent["service_account"] == "pipeline-steps"
    assert [each["display_name"] for each in kubeflow.experiments] == ["goodsight"]
    assert (run["run"], run["state"]) == (sent["run_id"], "PENDING")
    assert run["url"] == f"{kubeflow.url}/#/runs/details/{sent['run_id']}"


def test_the_text_of_a_policy_goes_along(kubeflow: Kubeflow, tmp_path: Path) -> None:
    from tests.pipelines.made import LENIENT_POLICY

    (tmp_path / "policy.yaml").write_text(LENIENT_POLICY)
    submitted("--policy", str(tmp_path / "policy.yaml"), "--arguments", '{"max_quarantined": 0.1}')
    (sent,) = kubeflow.runs.values()
    assert sent["runtime_config"]["parameters"]["policy"] == LENIENT_POLICY
    assert sent["runtime_config"]["parameters"]["max_quarantined"] == 0.1


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["--architecture", "transformer"], "transformer"),
        (["--arguments", "{"], "no JSON"),
        (["--arguments", "[1]"], "no JSON object"),
        (["--arguments", '{"learning_rate": 1}'], "no argument 'learning_rate'"),
        (["--pipeline", "bulk", "--arguments", '{"task": "embed"}'], "needs revision, version"),
    ],
)
def test_what_cannot_run_is_told_before_anything_is_sent(wrong: list[str], words: str, kubeflow: Kubeflow) -> None:
    with pytest.raises(InputError, match=words):
        submitted(*wrong)
    assert not kubeflow.runs


def test_without_an_endpoint_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOODSIGHT_KFP_ENDPOINT")
    settings.cache_clear()
    with pytest.raises(InputError, match="No Kubeflow Pipelines") as missing:
        submitted()
    assert "GOODSIGHT_KFP_ENDPOINT" in missing.value.hint


def test_the_bulk_pipeline_takes_its_arguments_as_json(kubeflow: Kubeflow) -> None:
    submitted("--pipeline", "bulk", "--arguments", '{"task": "embed", "revision": "shop-1", "version": "3"}')
    (sent,) = kubeflow.runs.values()
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "goodsight-bulk"
    assert sent["runtime_config"]["parameters"] == {"task": "embed", "revision": "shop-1", "version": "3"}


def test_an_experiment_is_made_once_and_has_the_namespace_where_users_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with kubeflow_pipelines(several_users=True) as server:
        for _ in range(2):
            submitted("--endpoint", server.url)
        assert [(each["display_name"], each["namespace"]) for each in server.experiments] == [("goodsight", "goodsight")]
        assert {run["experiment_id"] for run in server.runs.values()} == {server.experiments[0]["experiment_id"]}


def test_a_schedule_set_twice_is_one(kubeflow: Kubeflow) -> None:
    assert told(*WEEKLY)["changed"]
    assert not told(*WEEKLY)["changed"]
    (kept,) = kubeflow.recurring.values()
    assert kept["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (kept["max_concurrency"], kept["no_catchup"], kept["mode"]) == (1, True, "ENABLE")
    assert kept["runtime_config"]["parameters"]["release"] == "switch"  # a rollout needs one machine


def test_a_schedule_set_otherwise_takes_the_place_of_the_one_before(kubeflow: Kubeflow) -> None:
    for name in ("a", "b", "c"):
        said("pipeline", "schedule", "--name", name, "--cron", "0 4 * * *")
    said(*WEEKLY)
    before = {each["recurring_run_id"] for each in kubeflow.recurring.values() if each["display_name"] == "weekly"}
    assert told(*WEEKLY, "--size", "tiny")["changed"]
    assert told("pipeline", "schedule", "--name", "weekly", "--cron", "30 3 * * 1", "--size", "tiny")["changed"]
    after = [each for each in kubeflow.recurring.values() if each["display_name"] == "weekly"]
    assert len(after) == 1 and after[0]["recurring_run_id"] not in before
    assert [(each["name"], each["cron"]) for each in told("pipeline", "schedule", "--list")] == [
        ("a", "0 0 4 * * *"),
        ("b", "0 0 4 * * *"),
        ("c", "0 0 4 * * *"),
        ("weekly", "0 30 3 * * 1"),
    ]
    assert "weekly" in said("pipeline", "schedule", "--list")


def test_a_schedule_is_removed_by_name(kubeflow: Kubeflow) -> None:
    said(*WEEKLY)
    said("pipeline", "schedule", "--delete", "weekly")
    assert not kubeflow.recurring
    with pytest.raises(NotFoundError, match="weekly"):
        said("pipeline", "schedule", "--delete", "weekly")


@pytest.mark.parametrize("wrong", [[], ["--name", "weekly"], ["--cron", "0 3 * * 1"], ["--list", "--delete", "weekly"]])
def test_a_schedule_needs_a_name_and_a_time(wrong: list[str]) -> None:
    with pytest.raises(InputError, match="nothing to do, or too much"):
        said("pipeline", "schedule", *wrong)


def test_a_crontab_schedule_begins_at_second_zero() -> None:
    assert six_fields("0 3 * * 1") == "0 0 3 * * 1"
    assert six_fields("5 0 3 * * 1") == "5 0 3 * * 1"
    with pytest.raises(InputError, match="no schedule"):
        six_fields("weekly")


ENDS = {"SUCCEEDED": 0, "FAILED": 1, "CANCELED": 130, "CANCELING": 130, "RUNNING": EXIT_RETRY, "PENDING": EXIT_RETRY}


@pytest.mark.parametrize("state, status", ENDS.items())
def test_the_status_of_the_command_is_that_of_the_run(state: str, status: int, kubeflow: Kubeflow) -> None:
    run = submitted()
    kubeflow.runs[run]["state"] = state
    assert told("pipeline", "status", run, status=status)["state"] == state


def test_the_steps_of_a_run_are_told_with_state_and_time(kubeflow: Kubeflow) -> None:
    run = submitted()
    kubeflow.runs[run]["state"] = "FAILED"
    kubeflow.step(run, "root-driver", "SUCCEEDED", 1)
    kubeflow.step(run, "snapshot-component", "SUCCEEDED", 12.5)
    kubeflow.step(run, "pretrain-component", "FAILED", 3661, error="the data [train] are too few")
    kubeflow.step(run, "finetune-component", "RUNNING")
    steps = told("pipeline", "status", run, status=1)["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [("snapshot", "SUCCEEDED"), ("pretrain", "FAILED"), ("finetune", "RUNNING")]
    assert [step["seconds"] for step in steps[:2]] == [12.5, 3661]
    shown = said("pipeline", "status", run, status=1)
    assert "3,661" in shown and "[train]" in shown and "root-driver" not in shown


def test_watching_tells_each_change_and_ends_with_the_run(kubeflow: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    run = submitted()
    moves = iter([("RUNNING", "RUNNING"), ("RUNNING", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")])
    look = submit.Kubeflow.status

    def moving(self: submit.Kubeflow, run_id: str) -> dict[str, Any]:
        state, step = next(moves)
        kubeflow.runs[run]["state"] = state
        kubeflow.step(run, "snapshot-component", step, 1 if step == "SUCCEEDED" else None)
        return look(self, run_id)

    monkeypatch.setattr(submit.Kubeflow, "status", moving)
    monkeypatch.setattr(pipeline_command, "POLL_SECONDS", 0.01)
    shown = said("pipeline", "status", run, "--watch")
    assert [line for line in shown.splitlines() if line.startswith("snapshot:")] == ["snapshot: running", "snapshot: succeeded"]


def test_a_run_is_cancelled(kubeflow: Kubeflow) -> None:
    run = submitted()
    said("pipeline", "cancel", run)
    assert kubeflow.runs[run]["state"] == "CANCELING"


@pytest.mark.parametrize("command", ["status", "cancel"])
def test_a_run_that_is_not_there_is_named(command: str) -> None:
    with pytest.raises(NotFoundError, match="run-99"):
        said("pipeline", command, "run-99")


def test_a_wrong_token_is_no_matter_of_trying_again_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_KFP_TOKEN", "wrong-and-secret")
    settings.cache_clear()
    with pytest.raises(InputError, match="401") as refused:
        submitted()
    assert "GOODSIGHT_KFP_TOKEN" in refused.value.hint and "wrong-and-secret" not in str(refused.value)


def test_an_endpoint_that_fails_or_is_not_there_may_be_tried_again(kubeflow: Kubeflow) -> None:
    kubeflow.faults = [503]
    with pytest.raises(BusyError, match="503"):
        submitted()
    with pytest.raises(BusyError, match="does not answer"):
        submitted("--endpoint", "http://127.0.0.1:9")


def test_in_a_pod_the_token_of_the_kubelet_counts(kubeflow: Kubeflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("GOODSIGHT_KFP_TOKEN")
    settings.cache_clear()
    assert submitted() in kubeflow.runs
