"""`goodsight rollout`: bring a registered version in beside the one that serves, look at the evidence, promote it or end it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import By, Home, Json, home_of, logged, login, print_json, refused

app = typer.Typer(help="A new version beside the one that serves, a share of the requests at a time.", no_args_is_help=True)

POLL_SECONDS = 0.5
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


@app.command()
def start(
    version: Annotated[str, typer.Argument(help="A version, as `goodsight models list` has it.")],
    reason: Reason,
    shadow: Annotated[float, typer.Option(help="Share of requests that are copied to it, to compare answers; 0: none.")] = 0.1,
    weights: Annotated[str, typer.Option(help="Percent of the callers that it answers, a stage each.")] = "5,25,50",
    hold: Annotated[int, typer.Option(help="Requests of the new version before a stage is over.")] = 200,
    hold_seconds: Annotated[float, typer.Option(help="Seconds before a stage is over.")] = 60,
    errors: Annotated[float, typer.Option(help="Error budget: how much more of its requests may fail.")] = 0.01,
    slow: Annotated[float, typer.Option(help="How much more of its requests may be slow.")] = 0.05,
    slower: Annotated[float, typer.Option(help="Slow: so many times the 95th percentile of the version that serves.")] = 1.5,
    agreement: Annotated[float, typer.Option(help="How far its answers must agree with the others, on average.")] = 0.5,
    alpha: Annotated[float, typer.Option(help="Chance that a version is rolled back which is no worse than allowed.")] = 0.05,
    by: By = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Load a version beside the one that serves, and send it more and more of the requests while no test objects."""
    from serving.rollout import plan_of
    from serving.rollout_moves import start as begin

    root = home_of(home)
    plan = plan_of(
        shadow=shadow, weights=_percents(weights), hold=hold, hold_seconds=hold_seconds, errors=errors, slow=slow, slower=slower,
        agreement=agreement, alpha=alpha,
    )  # fmt: skip
    with logged(root, quiet=as_json):
        begun = begin(version, plan, login(by), reason, root)
    if as_json:
        print_json(begun.model_dump(mode="json"))
    else:
        typer.echo(f"Version {version} comes in beside version {begun.base} ({begun.name}). Look: goodsight rollout status")


@app.command()
def status(home: Home = None, as_json: Json = False) -> None:
    """Show where the rollout is, how the requests were split, and what the tests say."""
    from pipelines.rollout_report import described, rollout_tables
    from serving.rollout_moves import found

    now = found(home_of(home))
    print_json(described(now)) if as_json else rollout_tables(now)


@app.command()
def promote(
    reason: Reason,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the version is ready; status 3 when it is rolled back.")] = False,
    by: By = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Let the version of a rollout that is ready serve, and make it champion."""
    from dataclasses import asdict

    from serving.rollout_moves import promote as let_serve

    root = home_of(home)
    if wait:
        _wait(root)
    with logged(root, quiet=as_json):
        deployed = let_serve(login(by), reason, root)
    print_json(asdict(deployed)) if as_json else typer.echo(f"Version {deployed.version} serves and is champion.")


@app.command()
def abort(reason: Reason, by: By = "", home: Home = None, as_json: Json = False) -> None:
    """End the rollout: the version gets no more requests and is taken out."""
    from serving.rollout_moves import abort as end

    root = home_of(home)
    with logged(root, quiet=as_json):
        ended = end(login(by), reason, root)
    if as_json:
        print_json(ended.model_dump(mode="json"))
    else:
        typer.echo(f"Version {ended.version} is out; version {ended.base} serves all requests.")


def _percents(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise InputError(f"--weights {text!r} are no percents.", "Give them with commas: --weights 5,25,50") from error


def _wait(root: Path) -> None:
    """Returns when the rollout is ready. Raises an error with status 3 when it ended instead."""
    from tenacity import Retrying, retry_if_result, wait_fixed

    from serving.rollout_moves import found

    coming = retry_if_result(lambda rollout: rollout.phase in ("shadow", "canary"))
    now = Retrying(retry=coming, wait=wait_fixed(POLL_SECONDS))(found, root)
    if not now.running:
        raise refused(f"The rollout of version {now.version} is {now.name}: {now.moves[-1].why}.", "goodsight rollout status")
