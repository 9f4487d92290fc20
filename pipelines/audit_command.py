"""`goodsight audit`: whether anything was altered since, and whose signatures count."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from goodsight.errors import InputError
from pipelines import passport_command
from pipelines.options import Home, Json, home_of, login, print_json, refused

app = typer.Typer(help="What stands behind a model, and whether any of it was altered.", no_args_is_help=True)
keys_app = typer.Typer(help="The key that signs, and the keys whose signatures count.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
for command in passport_command.COMMANDS:
    app.command()(command)

Reason = Annotated[str, typer.Option(help="Why; it goes into the ledger.")]


@app.command()
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte of the catalogue versions too.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check the ledger, every registered and served model with its index, and the catalogue versions."""
    from pipelines.audit import checks
    from pipelines.report import audit_table

    found = list(checks(home_of(home), deep))
    print_json([asdict(check) for check in found]) if as_json else audit_table(found)
    wrong = [check for check in found if check.fault]
    if wrong:
        message = f"{len(wrong)} of {len(found)} checks failed. First, {wrong[0].name}: {wrong[0].fault}"
        raise refused(message, "Nothing altered is loaded; restore it from a backup, or make it again.")


@app.command()
def accept(reason: Reason, home: Home = None) -> None:
    """Take the ledger as it stands for whole: after it was restored from a backup, or moved to another database."""
    from goodsight.settings import settings
    from lineage.ledger import Ledger

    home_of(home)
    event = Ledger(settings().ledger_url).accept(login(), _given(reason))
    typer.echo(f"{event.seq - 1:,} events are taken for the whole ledger; event {event.seq:,} says so.")


@keys_app.command("show")
def keys_show(home: Home = None, as_json: Json = False) -> None:
    """Show the fingerprint of the key that signs, and of every key that is trusted."""
    from lineage import keys

    home_of(home)
    found = {"signs": keys.current(), "trusted": keys.trusted()}
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(name + "  signs" * (name == found["signs"]) for name in found["trusted"]))


@keys_app.command("rotate")
def keys_rotate(reason: Reason, home: Home = None) -> None:
    """Make a new key that signs from now on; what the one before signed still counts."""
    from lineage import keys

    home_of(home)
    reason, before = _given(reason), keys.current()
    new = keys.rotate()
    _record({"action": "rotate", "reason": reason, "key": new, "before": before})
    typer.echo(f"{new} signs from now on.")


@keys_app.command("distrust")
def keys_distrust(
    fingerprint: Annotated[str, typer.Argument(help="The key's fingerprint, or how it starts.")], reason: Reason, home: Home = None
) -> None:
    """Withdraw a key: nothing that it signed is loaded any more."""
    from lineage import keys

    home_of(home)
    name = keys.withdrawable(fingerprint)
    _record({"action": "distrust", "reason": _given(reason), "key": name})
    keys.distrust(name)
    typer.echo(f"{name} is not trusted any more.")


def _record(payload: dict[str, str]) -> None:
    from goodsight.settings import settings
    from lineage.ledger import Ledger

    Ledger(settings().ledger_url).append("key", login(), [payload["key"]], payload)


def _given(reason: str) -> str:
    if not reason.strip():
        raise InputError("A reason is needed.", 'Give --reason "the laptop with the key was lost".')
    return reason.strip()
