"""`goodsight keys`: who may ask the gateway. A key is shown once, on the last line of what makes it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.options import Home, Json, home_of, print_json

if TYPE_CHECKING:
    from serving.gateway.keys import Keys

app = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose key it is: a team, a service.")]


def _keys(home: Path | None) -> Keys:
    from goodsight.settings import settings
    from serving.gateway.keys import Keys

    home_of(home)
    return Keys(settings().api_keys_url)


@app.command()
def create(
    name: Name,
    scope: Annotated[list[str] | None, typer.Option(help="predict, feedback or audit; may be given again (default: predict).")] = None,
    rate: Annotated[int, typer.Option(min=1, max=100_000, help="Requests a second.")] = 50,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once."""
    key = _keys(home).create(name, scope or ["predict"], rate)
    print_json({"name": name, "key": key}) if as_json else typer.echo(key)


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """List the keys that were ever made, without the keys themselves."""
    from serving.gateway.keys import now

    at = now()
    told: list[dict[str, Any]] = [
        {"name": key.name, "counts": key.counts(at), "scopes": key.scopes, "rate": key.rate, "made": key.made, "ends": key.ends}
        for key in _keys(home).all()
    ]
    if as_json:
        print_json(told)
        return
    for key in told:
        state = "counts" if key["counts"] else "ended"
        ends = f", {'until' if key['counts'] else 'at'} {key['ends']}" if key["ends"] else ""
        typer.echo(f"{key['name']}: {state}{ends}; {', '.join(key['scopes'])}; {key['rate']} a second; made {key['made']}")
    if not told:
        typer.echo("There are no keys: goodsight serve answers anyone on this machine.")


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[float, typer.Option(min=0, help="Hours for which the key before it still counts.")] = 24.0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a new key for a name and show it, this once; the one before it counts a while longer."""
    key = _keys(home).rotate(name, timedelta(hours=overlap))
    print_json({"name": name, "key": key}) if as_json else typer.echo(key)


@app.command()
def revoke(name: Name, home: Home = None) -> None:
    """End every key of a name now; a running gateway knows within five seconds."""
    _keys(home).revoke(name)
    typer.echo(f"No key of {name} counts any more.")
