"""What `goodsight pipeline` prints: tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def steps_table(run: dict[str, Any]) -> None:
    """The steps of a run on Kubeflow, in the order in which they began."""
    rows = [(each["name"], each["state"].lower(), f"{each['seconds']:,.0f}", each["error"]) for each in run["steps"]]
    _print(f"{run['name']}: {run['state'].lower()}", ("step", "state", "seconds", "error"), rows)
    Console(highlight=False).print(escape(f"{run['error']}\n{run['url']}".strip()))


def schedules_table(schedules: list[dict[str, Any]]) -> None:
    """The schedules; arguments that are empty or text of several lines are left out."""
    rows = []
    for each in schedules:
        told = {name: str(value) for name, value in each["arguments"].items() if str(value) and "\n" not in str(value)}
        arguments = ", ".join(f"{name}={value}" for name, value in told.items())
        rows.append((each["name"], each["cron"], "on" if each["enabled"] else "off", arguments))
    _print("Schedules", ("name", "second minute hour day month weekday", "state", "arguments"), rows)


def _print(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)
