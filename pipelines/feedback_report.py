"""What `goodsight feedback` prints: tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipelines.feedback_plan import Plan
from pipelines.report import _table


def pieces_table(pieces: Sequence[dict[str, Any]]) -> None:
    """Pieces of feedback, one a row."""
    table = _table("Feedback", "id", "received", "kind", "product", "says", "answer", "key")
    for piece in pieces:
        said = piece["category"] or ("" if piece["value"] is None else f"{piece['value']:g}")
        end = " (withdrawn)" if piece["withdrawn"] else ""
        row = (piece["id"], piece["received"][:19], piece["kind"] + end, piece["product"], said, piece["prediction"], piece["key"])
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)


def figures_table(days: Sequence[dict[str, Any]]) -> None:
    """What came of answers, one day a row; shares are of that day's answers."""
    names = ("answers", "no result", "clicked", "MRR", "clicks", "purchases", "judged", "right")
    table = _table("What came of answers", "day", *names)
    for day in days:
        searches, judged = day["searches"], day["judged"]
        parts = (
            f"{day['predictions']:,}", _share(day["zero_results"], searches), _share(day["clicked"], searches),
            f"{day['reciprocal_rank'] / searches:.3f}" if searches else "", f"{day['clicks']:,}", f"{day['purchases']:,}",
            f"{judged:,}", _share(day["correct"], judged),
        )  # fmt: skip
        table.add_row(day["day"], *parts)
    Console(highlight=False).print(table)


def _share(part: float, of: float) -> str:
    return f"{100 * part / of:.1f} %" if of else ""


def plan_json(made: Plan) -> dict[str, Any]:
    """A plan as JSON: its events by kind, its labels, and what is left out."""
    kinds = Counter(event["kind"] for event in made.events)
    return {"events": dict(sorted(kinds.items())), "labels": [vars(label) for label in made.labels], "left_out": made.left_out}


def plan_table(made: Plan, revision: str) -> None:
    """What an import would bring."""
    console = Console(highlight=False)
    told = plan_json(made)
    kinds = ", ".join(f"{count:,} of {kind}" for kind, count in told["events"].items()) or "none"
    console.print(f"New events for {revision}: {kinds}", markup=False)
    for why, count in made.left_out.items():
        console.print(f"Left out: {count:,}, since {why}", markup=False)
    if made.labels:
        table = _table("Categories", "product", "is", "should be", "voices", "state", "why")
        for label in made.labels:
            row = (label.product, label.was, label.category, f"{label.voices} of {label.of}", label.state, label.why)
            table.add_row(*map(escape, row))
        console.print(table)
