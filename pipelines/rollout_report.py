"""What `goodsight rollout status` tells: the stages with their split, what the tests say, and each move with its reason."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.rollout import Counts, Rollout
from serving.sequential import Evidence

IN_WORDS = {
    "errors": "more of its requests fail by",
    "latency": "more of its requests are slow by",
    "agreement": "its answers agree with the others by",
}


def described(rollout: Rollout) -> dict[str, Any]:
    """Everything of a rollout, with the split of each stage and the evidence of now."""
    stages = [
        {"stage": number, "weight": _weight(rollout, number), "split": counts.split, **counts.model_dump()}
        for number, counts in _stages(rollout)
    ]
    evidence = {"stage": [vars(each) for each in rollout.evidence()], "all": [vars(each) for each in rollout.evidence_of_all()]}
    return {**rollout.model_dump(mode="json", exclude={"stages"}), "name": rollout.name, "stages": stages, "evidence": evidence}


def rollout_tables(rollout: Rollout) -> None:
    """Prints it for people."""
    console = Console(highlight=False)
    title = f"Version {rollout.version} beside version {rollout.base}: {rollout.name}. {rollout.reason}"
    console.print(_stages_table(rollout, title), _tests_table(rollout), _moves_table(rollout))


def _stages(rollout: Rollout) -> list[tuple[int, Counts]]:
    return sorted(rollout.stages.items())


def _weight(rollout: Rollout, stage: int) -> float:
    """Percent of the callers."""
    return rollout.plan.weights[stage - 1] if stage else 0.0


def _stages_table(rollout: Rollout, title: str) -> Table:
    table = _table(title, "stage", "callers, of them to it", "requests of it", "errors", "slow", "copies", "answered by the other")
    for number, counts in _stages(rollout):
        callers = f"{counts.to_old + counts.to_new:,}" + (f", {100 * counts.split:.1f} %" if counts.split is not None else "")
        name = f"canary {_weight(rollout, number):g} %" if number else "shadow"
        new = counts.new
        table.add_row(name, callers, f"{new.requests:,}", f"{new.errors:,}", f"{new.slow:,}", f"{counts.copies:,}", f"{counts.caught:,}")
    return table


def _tests_table(rollout: Rollout) -> Table:
    limit = f" (slow: above {rollout.limit_ms:.0f} ms)" if rollout.limit_ms else ""
    table = _table(f"Tests{limit}", "test", "this stage", "all stages", "allowed")
    for here, over_all in zip(rollout.evidence(), rollout.evidence_of_all(), strict=True):
        allowed = f"{'at least' if here.name == 'agreement' else 'at most'} {100 * here.limit:g} %"
        table.add_row(IN_WORDS[here.name], _told(here), _told(over_all), allowed)
    return table


def _told(evidence: Evidence) -> str:
    if evidence.seen is None:
        return "nothing seen"
    finding = {"worse": "worse", "shown": "shown", "open": "not shown yet"}[evidence.finding]
    return f"{100 * evidence.seen:.1f} % ({100 * evidence.low:.1f} to {100 * evidence.high:.1f}): {finding}"


def _moves_table(rollout: Rollout) -> Table:
    table = _table("Moves", "time", "from", "to", "by", "why")
    for move in rollout.moves:
        table.add_row(move.time, move.source, move.target, escape(move.by), escape(move.why))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
