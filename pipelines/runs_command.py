"""`goodsight runs`: what runs and ran, its logs, why a step came from the cache or did not, and how to stop or go on with a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodsight.errors import BusyError, InputError
from goodsight.processes import namespace
from pipelines.options import Home, Json, home_of, print_json

if TYPE_CHECKING:
    from lineage.runs import Run

app = typer.Typer(help="Runs of the pipeline: list, show, logs, resume, cancel, why.", no_args_is_help=True)

Which = Annotated[str, typer.Argument(help="A run's id or its start; `last`: the newest.")]
CANCEL_SECONDS = 120.0
POLL_SECONDS = 0.2


@app.command("list")
def list_all(
    state: Annotated[str, typer.Option(help="Only runs in this state: running, succeeded, failed, stopped, lost.")] = "",
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="How many at the most.")] = 20,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first: those that go on, and those that home or the ledger tells of."""
    from goodsight.settings import settings
    from lineage.runs import STATES, list_runs
    from pipelines.runs_report import runs_table

    if state and state.upper() not in STATES:
        raise InputError(f"{state!r} is no state of a run.", f"The states are {', '.join(STATES).lower()}.")
    found = [run for run in list_runs(home_of(home), settings().ledger_url) if not state or run.state == state.upper()][:most]
    print_json([run.to_json() for run in found]) if as_json else runs_table(found)


@app.command()
def show(wanted: Which = "last", home: Home = None, as_json: Json = False) -> None:
    """Show one run: what was asked for, its steps with time, memory, energy and money, and what came of it."""
    from goodsight.settings import settings
    from lineage.runs import find
    from pipelines.runs_report import run_table

    run = find(home_of(home), settings().ledger_url, wanted)
    print_json(run.to_json()) if as_json else run_table(run)


@app.command()
def logs(
    wanted: Which = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes until the run ends.")] = False,
    home: Home = None,
) -> None:
    """Print what a run printed, of every attempt."""
    from goodsight.settings import settings
    from lineage.runs import find, folder

    root = home_of(home)
    run = find(root, settings().ledger_url, wanted)
    log = folder(root, run.run_id) / "run.log"
    if not log.is_file():
        raise InputError(f"The run {run.run_id} left no log in this home.", "Logs of a run on a cluster are with Kubeflow Pipelines.")
    with log.open(encoding="utf-8", errors="replace") as file:

        def copy() -> bool:
            """Prints what came; True while more may come."""
            live = follow and find(root, settings().ledger_url, run.run_id).live  # before the file is read to its end
            shutil.copyfileobj(file, sys.stdout)
            sys.stdout.flush()
            return live

        _while(copy)


def _while(goes_on: Callable[[], bool], seconds: float | None = None) -> None:
    """Returns once it is no longer so. Raises `RetryError` after so many seconds."""
    from tenacity import Retrying, retry_if_result, stop_after_delay, stop_never, wait_fixed

    stop = stop_never if seconds is None else stop_after_delay(seconds)
    Retrying(retry=retry_if_result(bool), wait=wait_fixed(POLL_SECONDS), stop=stop)(goes_on)


@app.command()
def resume(
    wanted: Which = "last",
    budget: Annotated[float, typer.Option(min=0, help="Most money that it may cost, all attempts together.")] = 0.0,
    home: Home = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing table.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was lost, stopped or failed: same data, same arguments; what it finished comes from the cache."""
    from goodsight.settings import settings
    from lineage.runs import find
    from pipelines.local import Wanted, run
    from pipelines.report import tell_run

    found = find(home_of(home), settings().ledger_url, wanted)
    if not found.asked:
        hint = "Runs of a cluster go on there: goodsight pipeline submit"
        raise InputError(f"Nobody knows what the run {found.run_id} was asked for.", hint)
    tell_run(run(Wanted(None, "", quiet=quiet, budget=budget, run_id=found.run_id)), quiet, as_json)


@app.command()
def cancel(wanted: Which, home: Home = None) -> None:
    """Stop a run: its step writes a checkpoint where it has one, and `goodsight runs resume` goes on from there."""
    from tenacity import RetryError

    from goodsight.settings import settings
    from lineage import runs

    root, ledger = home_of(home), settings().ledger_url
    run = runs.find(root, ledger, wanted)
    if run.state == "LOST":
        return _bury(run, root)
    if not run.live:
        raise InputError(f"The run {run.run_id} is over: {run.state}.", f"See it with: goodsight runs show {run.run_id}")
    if run.kubeflow:
        raise InputError(f"The run {run.run_id} goes on on a cluster.", f"Stop it there: goodsight pipeline cancel {run.kubeflow}")
    if run.namespace not in (0, namespace()):
        hint = "Say it there: goodsight runs cancel, or stop that container."
        raise InputError(f"The run {run.run_id} goes on in another container.", hint)
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(run.pid or 0), signal.SIGTERM)
    try:
        _while(lambda: runs.find(root, ledger, run.run_id).live, CANCEL_SECONDS)
    except RetryError as error:
        message = f"The run {run.run_id} still goes on after {CANCEL_SECONDS:.0f} s."
        raise BusyError(message, f"Its process is {run.pid}.") from error
    run = runs.find(root, ledger, run.run_id)
    typer.echo(f"The run {run.run_id} is over: {run.state}. Go on with it: goodsight runs resume {run.run_id}")


def _bury(run: Run, root: Path) -> None:
    """Tells the ledger of a run whose process, or the pods of whose steps, are gone without a word."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from components import figures
    from lineage import record, runs

    if run.kubeflow:
        told = {"revision": run.revision, **figures.of_run(run.kubeflow)}
        record.run("STOPPED", run.run_id, cause="Nothing was heard of its steps; it was cancelled.", kubeflow=run.kubeflow, **told)
        typer.echo(f"The run {run.run_id} was lost; it counts as STOPPED now. End it there too: goodsight pipeline cancel {run.kubeflow}")
        return
    cause = "Its process was gone; it was cancelled."
    steps = {step.name: step.seconds for step in run.steps if not step.cached and step.state != "RUNNING"}
    more: dict[str, Any] = {"started": run.started, "asked": run.asked, "currency": run.currency, "spent": run.cost or 0.0}
    record.run("STOPPED", run.run_id, run.revision, cause, steps=steps, **more)
    runs.keep(root, replace(run, state="STOPPED", cause=cause, ended=datetime.now(UTC).isoformat(timespec="microseconds")))
    typer.echo(f"The run {run.run_id} was lost; it counts as STOPPED now. Go on with it: goodsight runs resume {run.run_id}")


@app.command("why-cached")
def why_cached(
    wanted: Which,
    step: Annotated[str, typer.Argument(help="A step, for example 'finetune retrieve'.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say why a step came from the cache: who made it, when, and with which code, arguments and inputs."""
    _why(wanted, step, True, home, as_json)


@app.command("why-run")
def why_run(
    wanted: Which,
    step: Annotated[str, typer.Argument(help="A step; default: every step that ran.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say why a step ran although there is a cache: what it was asked with that no run before was."""
    _why(wanted, step, False, home, as_json)


def _why(wanted: str, step: str, cached: bool, home: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from goodsight.settings import settings
    from lineage.runs import find, list_runs
    from pipelines.reasons import why, why_each
    from pipelines.runs_report import reasons_text

    root, ledger = home_of(home), settings().ledger_url
    run, everything = find(root, ledger, wanted), list_runs(root, ledger)
    if step:
        found = [why(root, run, step, everything)]
        if found[0].cached != cached:
            how, other = ("ran", "why-run") if cached else ("came from the cache", "why-cached")
            raise InputError(f"In the run {run.run_id} the step {step} {how}.", f"Ask: goodsight runs {other} {run.run_id} '{step}'")
    else:
        found = [reason for reason in why_each(root, run, everything) if not reason.cached]
    print_json([asdict(reason) for reason in found]) if as_json else reasons_text(run, found)
