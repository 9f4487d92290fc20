"""`goodsight feedback`: what people said of answers, and how it becomes part of the next version of a catalogue."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from pipelines.options import By, Home, Json, home_of, login, print_json

app = typer.Typer(help="What people clicked, bought and corrected.", no_args_is_help=True)

Kind = Literal["click", "purchase", "category"]
Days = Annotated[int, typer.Option(min=1, max=3660, help="How many days back.")]
Name = Annotated[str, typer.Argument(help="Name of the catalogue (default: the one that the champion learned from).")]
Agree = Annotated[int, typer.Option(min=1, help="Voices that must agree on a category.")]
Changed = Annotated[float, typer.Option("--most-changed", min=0, max=1, help="Share of the products that may get another category.")]


def _since(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


@app.command("list")
def list_(
    days: Days = 30,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Those that count no more too.")] = False,
    newest: Annotated[int, typer.Option("-n", min=1, help="How many, the newest.")] = 50,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List what was said, oldest first: of which answer, when, with whose key."""
    from goodsight.settings import settings
    from lineage.feedback import KINDS, given
    from pipelines.feedback_report import pieces_table

    home_of(home)
    found = given(settings().predictions_url, _since(days), [kind] if kind else KINDS, withdrawn, newest)
    print_json(found) if as_json else pieces_table(found)


@app.command()
def figures(
    days: Days = 30,
    version: Annotated[str, typer.Option(help="Of this model version alone.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what came of answers, day by day: clicks, purchases, and how often the category was right."""
    from goodsight.settings import settings
    from lineage.feedback import by_day
    from pipelines.feedback_report import figures_table

    home_of(home)
    found = by_day(settings().predictions_url, _since(days), _since(-1), version)
    print_json(found) if as_json else figures_table(found)


@app.command()
def show(name: Name = "", agree: Agree = 2, home: Home = None, as_json: Json = False) -> None:
    """Show what an import would bring to the newest version of a catalogue: events, new categories, and what waits for a person."""
    from pipelines.feedback import planned
    from pipelines.feedback_plan import Rules
    from pipelines.feedback_report import plan_json, plan_table

    made, revision = planned(name, home_of(home), Rules(agree=agree))
    print_json({"revision": revision, **plan_json(made)}) if as_json else plan_table(made, revision)


@app.command("import")
def import_(
    name: Name = "",
    accept: Annotated[list[str] | None, typer.Option(help="Id of a product whose voices are right, few or not; more than once.")] = None,
    reason: Annotated[str, typer.Option(help="Why these are accepted, for the ledger.")] = "",
    agree: Agree = 2,
    most_changed: Changed = 0.05,
    by: By = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make the next version of a catalogue with the clicks and purchases as events and the agreed categories as labels."""
    from pipelines.events import Listener
    from pipelines.feedback import import_feedback
    from pipelines.feedback_plan import Rules
    from pipelines.feedback_report import plan_json

    rules, root = Rules(agree=agree, most_changed=most_changed), home_of(home)
    with Listener(root / "import.log", quiet=as_json) as listener, contextlib.redirect_stdout(listener):
        done = import_feedback(name, root, login(by), rules, accept or (), reason)
    waiting = sum(label.state == "review" for label in done.made.labels)
    if as_json:
        print_json({"revision": done.revision, "record": str(done.record or ""), **plan_json(done.made)})
    elif not done.made.events and not done.made.changes:
        typer.echo(f"{done.revision} has all feedback that counts. {waiting:,} categories wait for a person.")
    else:
        counts = f"{len(done.made.events):,} events and {len(done.made.changes):,} new categories"
        typer.echo(f"{done.revision}: {counts}; {waiting:,} wait for a person. Which answers they are from: {done.record}")


@app.command()
def withdraw(
    reason: Annotated[str, typer.Option(help="Why it does not count.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of pieces of feedback.")] = None,
    key: Annotated[str | None, typer.Option(help='Instead of ids: all that came with this key ("" for a server without keys).')] = None,
    days: Days = 30,
    by: By = "",
    home: Home = None,
) -> None:
    """Let feedback count no more. What a version of a catalogue has of it stays there."""
    from goodsight.errors import InputError
    from goodsight.settings import settings
    from lineage.feedback_log import FeedbackLog

    if ids and key is not None:
        raise InputError("Both ids and a key are given.", "Give one of them.")
    home_of(home)
    count = FeedbackLog(settings().predictions_url).withdraw(reason, login(by), ids or (), key, _since(days))
    typer.echo(f"{count:,} {'piece of feedback counts' if count == 1 else 'pieces of feedback count'} no more.")
