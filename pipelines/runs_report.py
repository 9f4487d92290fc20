"""What `goodsight runs` prints: tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lineage.costs import MEASURED, total
from lineage.runs import Run, Step
from lineage.wording import money
from pipelines.reasons import Reason

COLOURS = {"RUNNING": "cyan", "SUCCEEDED": "green", "FAILED": "red", "LOST": "red", "STOPPED": "yellow"}


def runs_table(found: Sequence[Run]) -> None:
    """Runs, newest first."""
    console = Console(highlight=False)
    if not found:
        console.print("No run yet. Start one: goodsight run")
        return
    table = Table(title="Runs", title_justify="left", title_style="bold")
    for column in ("run", "state", "started", "time", "data", "came of it", "cost"):
        table.add_column(column, overflow="fold")
    for run in found:
        took = duration(run.seconds) if run.seconds is not None else now_at(run)
        table.add_row(run.run_id, state(run.state), when(run.started), took, escape(run.revision), came(run), money(run.cost, run.currency))
    console.print(table)


def run_table(run: Run) -> None:
    """One run: what it was asked for, its steps, what came of it."""
    console = Console(highlight=False)
    asked = ", ".join(f"{name} {value}" for name, value in run.asked.items() if value not in (None, "", 0.0) and name != "policy")
    facts = {
        "state": state(run.state),
        "cause": escape(run.cause),
        "started": when(run.started),
        "ended": when(run.ended or ""),
        "data": escape(run.revision),
        "asked": escape(asked),
        "by": f"the decision of ledger event {run.trigger}" if run.trigger else "",
        "Kubeflow": escape(run.kubeflow),
        "came of it": came(run),
        "cost": money(run.cost, run.currency),
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name:>10}  {value}", soft_wrap=True)
    table = Table(title=f"Steps of {run.run_id}", title_justify="left", title_style="bold")
    table.add_column("step")
    for column in ("state", "seconds", "CPU s", "GPU s", "memory", "Wh", f"cost {run.currency}".strip()):
        table.add_column(column, justify="right")
    for step in run.steps:
        table.add_row(step.name, *_cells(step))
    table.add_section()
    sums = {name: total([run], name) for name in MEASURED}
    peak = max((step.peak_rss_bytes or 0 for step in run.steps), default=0) or None
    table.add_row("in all", *_cells(Step("", "", sum(step.seconds for step in run.steps), peak_rss_bytes=peak, **sums)))  # type: ignore[arg-type]
    console.print(table)


def _cells(step: Step) -> list[str]:
    if step.cached:
        return ["from the cache", *[""] * 6]
    watt_hours = "" if step.energy_kwh is None else f"{1000 * step.energy_kwh:,.3f}"
    memory = "" if step.peak_rss_bytes is None else f"{step.peak_rss_bytes / 2**20:,.0f} MiB"
    times = ["" if value is None else f"{value:,.1f}" for value in (step.seconds, step.cpu_seconds, step.gpu_seconds)]
    return [state(step.state), *times, memory, watt_hours, money(step.cost)]


def reasons_text(run: Run, found: Sequence[Reason]) -> None:
    """Why steps ran or did not, in words."""
    console = Console(highlight=False, soft_wrap=True)
    if not found:
        console.print(f"Every step of {run.run_id} came from the cache.")
    for reason in found:
        console.print(f"[bold]{escape(reason.step)}[/bold] {'came from the cache' if reason.cached else 'ran'}. {escape(reason.sentence)}")
        for line in reason.differences or reason.same:
            console.print(f"    {escape(line)}", style="dim")


def state(name: str) -> str:
    return f"[{COLOURS[name]}]{name.lower()}[/]" if name in COLOURS else name.lower()


def when(time: str) -> str:
    """A time of the ledger, as people read it."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}" if time else ""


def now_at(run: Run) -> str:
    """The step that goes on."""
    going = [step.name for step in run.steps if step.state == "RUNNING"]
    return f"at {going[-1]}" if going else ""


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def came(run: Run) -> str:
    """What came of a run, in few words."""
    if run.data_verdict == "failed":
        return "data refused"
    if run.verdict == "reject":
        return "candidate rejected"
    return f"version {run.version}" if run.version else ""
