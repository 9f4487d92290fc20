"""`goodsight models`: the registered versions, who is and was champion, and how another one becomes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import By, Home, Json, home_of, logged, login, print_json

app = typer.Typer(help="Registered models and their champion.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="A version, as `goodsight models list` has it.")]
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """List the registered versions, oldest first."""
    from lineage import champion, registry
    from pipelines.report import models_table
    from serving.deploy import current

    root = home_of(home)
    champion.current()
    served = current(root)
    versions = [{**version, "served": bool(served and served.version == version["version"])} for version in registry.versions()]
    print_json(versions) if as_json else models_table(versions)


@app.command()
def show(version: Version, home: Home = None, as_json: Json = False) -> None:
    """Show one version: where it comes from, its figures beside their baselines, and what the ledger tells of it."""
    from goodsight.settings import settings
    from lineage import champion, registry
    from lineage.ledger import Ledger
    from pipelines.report import model_tables

    home_of(home)
    champion.current()
    found = registry.describe(version)
    found["events"] = [event.to_json() for event in Ledger(settings().ledger_url).about(found["candidate"])]
    print_json(found) if as_json else model_tables(found)


@app.command()
def promote(version: Version, reason: Reason, by: By = "", home: Home = None, as_json: Json = False) -> None:
    """Serve a version and its index again, after its smoke test, and make it champion."""
    from serving.promotion import promote as promote_version

    root = home_of(home)
    with logged(root, quiet=as_json):
        deployed = promote_version(version, login(by), reason, root)
    print_json(asdict(deployed)) if as_json else typer.echo(f"Version {version} serves and is champion.")


@app.command()
def rollback(reason: Reason, by: By = "", home: Home = None, as_json: Json = False) -> None:
    """Serve the previous champion and its index again, and make it champion."""
    from serving.promotion import rollback as roll_back

    root = home_of(home)
    with logged(root, quiet=as_json):
        deployed = roll_back(login(by), reason, root)
    print_json(asdict(deployed)) if as_json else typer.echo(f"Version {deployed.version} serves again and is champion.")


@app.command("who-was-champion")
def who_was_champion(
    at: Annotated[str, typer.Option(help="A time (ISO 8601, UTC when it names no zone) or a date, which means its end.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say who was champion at an instant, since when, and who made it so and why: from the ledger alone."""
    from goodsight.times import end_of
    from lineage import champion
    from pipelines.report import reign_table

    home_of(home)
    time = end_of(at)
    if time is None:
        raise InputError(f"{at!r} is no time.", "Give one like 2026-05-01 or 2026-05-01T08:00:00Z.")
    reign = champion.at(time)
    if as_json:
        print_json({"at": time.isoformat(), "champion": asdict(reign) if reign else None})
    elif reign:
        reign_table(reign, time.isoformat())
    else:
        typer.echo(f"There was no champion at {time.isoformat()}.")
