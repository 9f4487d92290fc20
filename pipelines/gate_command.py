"""`goodsight gate`: verdicts in words, and overrides of single checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from goodsight.errors import InputError
from pipelines.options import By, Home, Json, home_of, login, print_json, write_page

app = typer.Typer(help="Verdicts of the gate, and overrides of its checks.", no_args_is_help=True)
Run = Annotated[str, typer.Argument(help="A run's id (default: the newest that was judged).")]


@app.command()
def explain(
    run: Run = "",
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell a run's verdict like a referee's report: each check with its figures, what failed, what to do."""
    from goodsight.page import render
    from lineage import plots, referee

    result, verdict = _judged(home_of(home), run)
    report = referee.review(verdict, result)
    if html:
        drawn = [
            (plots.comparisons(verdict["checks"]), "Candidate against champion"),
            (plots.figures(verdict["checks"]), "Figures beside what was asked"),
        ]
        write_page(html, render(Path(referee.__file__).with_name("pages"), "verdict", report=report, plots=drawn))
    if as_json:
        print_json(verdict)
        return
    for line in referee.lines(report):
        typer.echo(line)


@app.command()
def override(
    check: Annotated[str, typer.Option(help="The check to pass over, as `gate explain` names it: leaf_accuracy/floor")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger and every verdict.")],
    until: Annotated[str, typer.Option(help="The last day that it holds (UTC), or an instant: 2027-01-31")],
    by: By = "",
    run: Annotated[str, typer.Option(help="For the candidate of this run.")] = "",
    candidate: Annotated[str, typer.Option(help="For the candidate of this digest.")] = "",
    every: Annotated[bool, typer.Option("--every-candidate", help="For every candidate until then.")] = False,
    home: Home = None,
) -> None:
    """Let candidates pass one check that fails, by name, reason and expiry; the next run judges with it."""
    from datetime import UTC, datetime

    from goodsight.settings import settings
    from lineage.ledger import Ledger
    from lineage.overrides import Override, record

    root = home_of(home)
    if [bool(run), bool(candidate), every].count(True) != 1:
        raise InputError("An override is for one candidate or for every one.", "Give one of --run, --candidate and --every-candidate.")
    digest = _candidate_of(root, run, check) if run else candidate
    said = Override(check, digest, reason.strip(), login(by), until)
    event = record(Ledger(settings().ledger_url), said, datetime.now(UTC))
    whom = f"candidate {digest[:12]}" if digest else "every candidate"
    typer.echo(f"Ledger event {event.seq}: {check} is overridden for {whom} until {until}, by {said.by}. The next run judges with it.")


@app.command()
def overrides(home: Home = None, as_json: Json = False) -> None:
    """List every override in the ledger: check, candidate, who, why, until when, and whether it is in force."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from goodsight.settings import settings
    from lineage.ledger import Ledger
    from lineage.overrides import recorded
    from pipelines.report import overrides_table

    home_of(home)
    now = datetime.now(UTC)
    found = [{**asdict(each), "in_force": each.in_force(now)} for each in recorded(Ledger(settings().ledger_url))]
    print_json(found) if as_json else overrides_table(found)


def _judged(root: Path, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of a run, the newest one when none is named, and its verdict. Raises `InputError` when it was not judged."""
    from goodsight.files import read_json

    names = [run] if run else sorted((path.parent.name for path in (root / "runs").glob("*/result.json")), reverse=True)
    for name in names:
        result = read_json(root / "runs" / name / "result.json")
        if "verdict" in result["paths"]:
            return result, read_json(Path(result["paths"]["verdict"]))
    missing = f"Run {run} did not reach the gate." if run else f"No run in {root} has reached the gate."
    raise InputError(missing, "See what it said at its end, or start one: goodsight run")


def _candidate_of(root: Path, run: str, check: str) -> str:
    """The digest of the candidate of `run`. Raises `InputError` when its verdict has no such check that failed."""
    _, verdict = _judged(root, run)
    failed = [each["id"] for each in verdict["checks"] if each["pass"] is False]
    if check not in failed:
        raise InputError(f"Run {run} has no failed check {check!r}.", f"Those that failed: {', '.join(failed) or 'none'}.")
    return str(verdict["candidate"]["digest"])
