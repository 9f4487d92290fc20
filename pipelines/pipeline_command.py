"""`goodsight pipeline`: the pipelines for a cluster, compiled, started, scheduled, watched and cancelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from goodsight.errors import EXIT_FAILURE, EXIT_RETRY, InputError
from pipelines.options import Json, policy_text, print_json

if TYPE_CHECKING:
    from pipelines.submit import Kubeflow

app = typer.Typer(help="The pipelines for a cluster.", no_args_is_help=True)
POLL_SECONDS = 5.0
STATUS = {"SUCCEEDED": 0, "FAILED": EXIT_FAILURE, "CANCELED": 130, "CANCELING": 130}  # of `goodsight pipeline status`
STEPS_ACCOUNT = "pipeline-steps"  # of k8s/base/steps.yaml

Pipeline = Literal["retrain", "bulk"]
Which = Annotated[Pipeline, typer.Option("--pipeline", help="retrain, or bulk: answers for every product.")]
Endpoint = Annotated[str, typer.Option(help="URL of Kubeflow Pipelines (default: GOODSIGHT_KFP_ENDPOINT).")]
Experiment = Annotated[str, typer.Option(help="Experiment that the runs belong to.")]
Run = Annotated[str, typer.Argument(help="The id of a run.")]
Revision = Annotated[str, typer.Option(help="Version of the data: newest, a revision, a catalogue's name, or a date.")]
Architecture = Annotated[str, typer.Option(help="commercemm, eclip, scale or interbert.")]
Size = Annotated[str, typer.Option(help="Size of the model: tiny, small or base.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Release = Annotated[Literal["switch", "rollout"], typer.Option(help="switch: the version serves at once; rollout: it waits.")]
Policy = Annotated[Path | None, typer.Option(help="YAML file of the gate's policy (default: lineage/policy.yaml).")]
Arguments = Annotated[str, typer.Option(help="Further arguments of the pipeline, as a JSON object.")]
Account = Annotated[str, typer.Option(help="Service account of the steps' pods; empty: Kubeflow's own.")]


@app.command("compile")
def compile_(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The YAML file to write (default: its name).")] = None,
    name: Which = "retrain",
) -> None:
    """Compile a pipeline to YAML for Kubeflow Pipelines."""
    from pipelines.compile import compile_pipeline

    typer.echo(f"Wrote {compile_pipeline(output or Path(f'goodsight-{name}.yaml'), name)}")


@app.command()
def submit(
    name: Which = "retrain",
    revision: Revision = "newest",
    architecture: Architecture = "commercemm",
    size: Size = "small",
    seed: Seed = 17,
    release: Release = "switch",
    policy: Policy = None,
    arguments: Arguments = "{}",
    experiment: Experiment = "goodsight",
    service_account: Account = STEPS_ACCOUNT,
    endpoint: Endpoint = "",
    as_json: Json = False,
) -> None:
    """Start a run on Kubeflow Pipelines; it is compared with the champion of the time when it begins."""
    asked = _asked(name, arguments, policy, revision=revision, architecture=architecture, size=size, seed=seed, release=release)
    run = _kubeflow(endpoint, experiment).submit(name, asked, service_account)
    print_json(run) if as_json else typer.echo(f"Run {run['run']} is {run['state'].lower()}: {run['url']}")


@app.command()
def schedule(
    name: Annotated[str, typer.Option(help="Name of the schedule.")] = "",
    cron: Annotated[str, typer.Option(help="When: minute, hour, day, month, weekday, in UTC.")] = "",
    listing: Annotated[bool, typer.Option("--list", help="Show the schedules.")] = False,
    delete: Annotated[str, typer.Option(help="Remove the schedule of this name; its runs stay.")] = "",
    pipeline: Which = "retrain",
    revision: Revision = "newest",
    architecture: Architecture = "commercemm",
    size: Size = "small",
    seed: Seed = 17,
    release: Release = "switch",
    policy: Policy = None,
    arguments: Arguments = "{}",
    experiment: Experiment = "goodsight",
    service_account: Account = STEPS_ACCOUNT,
    endpoint: Endpoint = "",
    as_json: Json = False,
) -> None:
    """Start runs by the calendar, one at a time. The same command again changes nothing; with other options, the schedule."""
    if [bool(name or cron), listing, bool(delete)].count(True) != 1 or bool(name) != bool(cron):
        raise InputError("There is nothing to do, or too much.", 'Give --name NAME and --cron "0 3 * * 1", or --list, or --delete NAME.')
    if listing:
        from pipelines.pipeline_report import schedules_table

        found = _kubeflow(endpoint, experiment).schedules()
        return print_json(found) if as_json else schedules_table(found)
    if delete:
        _kubeflow(endpoint, experiment).unschedule(delete)
        return print_json({"deleted": delete}) if as_json else typer.echo(f"The schedule {delete} is gone.")
    asked = _asked(pipeline, arguments, policy, revision=revision, architecture=architecture, size=size, seed=seed, release=release)
    kept = _kubeflow(endpoint, experiment).schedule(name, cron, pipeline, asked, service_account)
    print_json(kept) if as_json else typer.echo(f"{pipeline} runs at {kept['cron']} as {name}{'' if kept['changed'] else ', as it did'}.")


@app.command()
def status(
    run: Run,
    watch: Annotated[bool, typer.Option("--watch", help="Tell what changes until the run has ended.")] = False,
    experiment: Experiment = "goodsight",
    endpoint: Endpoint = "",
    as_json: Json = False,
) -> None:
    """Show the steps of a run. Ends with 0 when it succeeded, 1 when it failed, 130 when it was cancelled, 75 while it goes on."""
    from pipelines.pipeline_report import steps_table

    kubeflow = _kubeflow(endpoint, experiment)
    found = _watched(kubeflow, run, quiet=as_json) if watch else kubeflow.status(run)
    print_json(found) if as_json else steps_table(found)
    raise typer.Exit(STATUS.get(found["state"], EXIT_RETRY))


@app.command()
def cancel(run: Run, experiment: Experiment = "goodsight", endpoint: Endpoint = "", as_json: Json = False) -> None:
    """End a run: the step that works is told to stop, and its TrainJob is deleted. Checkpoints stay."""
    _kubeflow(endpoint, experiment).cancel(run)
    print_json({"cancelled": run}) if as_json else typer.echo(f"The run {run} is told to stop: goodsight pipeline status {run}")


def _kubeflow(endpoint: str, experiment: str) -> Kubeflow:
    from goodsight.settings import settings
    from pipelines.submit import Kubeflow

    return Kubeflow(endpoint or settings().kfp_endpoint, experiment)


def _asked(pipeline: str, arguments: str, policy: Path | None, **retrain: Any) -> dict[str, Any]:
    """The arguments of the pipeline: `retrain` are those that have options; the others come as JSON. Raises `InputError`."""
    from models.config import check_trainable, model_config

    try:
        further = json.loads(arguments)
    except ValueError as error:
        raise InputError(f"--arguments is no JSON: {error}.", """Give an object: --arguments '{"max_quarantined": 0.1}'""") from error
    if not isinstance(further, dict):
        raise InputError("--arguments is no JSON object.", """Give an object: --arguments '{"max_quarantined": 0.1}'""")
    if pipeline != "retrain":
        return further
    check_trainable(model_config(retrain["architecture"], retrain["size"]))
    return {**retrain, "policy": policy_text(policy), **further}


def _watched(kubeflow: Kubeflow, run: str, quiet: bool) -> dict[str, Any]:
    """The run once it has ended; on the way, a line for each step that changes."""
    from tenacity import Retrying, retry_if_result, wait_fixed

    told: dict[str, str] = {}

    def look() -> dict[str, Any]:
        found = kubeflow.status(run)
        for step in found["steps"]:
            if not quiet and told.get(step["name"]) != step["state"]:
                typer.echo(f"{step['name']}: {step['state'].lower()}")
            told[step["name"]] = step["state"]
        return found

    return Retrying(retry=retry_if_result(lambda found: not found["ended"]), wait=wait_fixed(POLL_SECONDS))(look)
