"""What a local run prints: the steps' event lines become bars and notes on the terminal, everything goes into the run's log."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from goodsight.progress import parse

ANSI = re.compile(r"\x1b\[[0-9;]*m")
PLAIN_SECONDS = 15.0  # between two progress lines where no bar can be drawn


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields['unit']}/s" if speed else "", style="dim")


@dataclass
class Story:
    """What happened so far: finished steps, the error that ended the run, the largest memory of a step."""

    steps: dict[str, float] = field(default_factory=dict)  # name -> seconds, of the steps that ran
    error: dict[str, str] | None = None
    peak_rss_bytes: int = 0


class Listener:
    """A text stream in place of standard output while kfp.local runs; shows what a person wants to see, unless `quiet`."""

    def __init__(self, log: Path, quiet: bool, heard: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        """`heard` is told every event too."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._tell = heard
        self.story = Story()
        self.console = Console(file=sys.__stderr__, quiet=quiet, highlight=False, soft_wrap=True)
        self._log = open(log, "a", encoding="utf-8")  # noqa: SIM115 - closed at the end of the block
        self._line = ""
        counts = (MofNCompleteColumn(), RateColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *counts)
        self._bars = Progress(*columns, console=self.console, transient=True)
        self._rows: dict[str, Any] = {}
        self._told = 0.0
        self._warned: set[str] = set()

    def __enter__(self) -> Listener:
        self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()
        self._log.close()

    def write(self, text: str) -> int:
        self._line += text
        *whole, self._line = self._line.split("\n")
        for line in whole:
            self._heard(ANSI.sub("", line))
        return len(text)

    def flush(self) -> None:
        self._log.flush()

    def isatty(self) -> bool:
        return False

    def _heard(self, line: str) -> None:
        event = parse(line)
        if event is None or event["kind"] != "progress":
            self._log.write(line + "\n")
        if event is not None:
            getattr(self, f"_on_{event['kind']}", lambda _: None)(event)
            self._tell(event)

    def _on_progress(self, event: dict[str, Any]) -> None:
        name, total = event["what"], event["total"] or None
        if not self.console.is_terminal and time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            self.console.print(f"  {name}: {event['done']:,} of {event['total']:,} {event['unit']}", style="dim")
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(f"  {name}", total=total, unit=event["unit"], completed=event["done"])
        self._bars.update(self._rows[name], completed=event["done"], total=total)
        if total and event["done"] >= total:
            self._bars.remove_task(self._rows.pop(name))

    def _on_note(self, event: dict[str, Any]) -> None:
        self.console.print(f"    {event['text']}", style="dim")

    def _on_warning(self, event: dict[str, Any]) -> None:
        if event["text"] not in self._warned:
            self._warned.add(event["text"])
            self.console.print(f"  warning: {event['text']}", style="yellow")

    def _on_step(self, event: dict[str, Any]) -> None:
        if event["state"] == "started":
            self.console.print(f"• {event['name']}")
            return
        self.story.steps[event["name"]] = event["seconds"]
        self.story.peak_rss_bytes = max(self.story.peak_rss_bytes, event["peak_rss_bytes"])
        self.console.print(f"  {event['state']} in {event['seconds']:.1f} s", style="green" if event["state"] == "done" else "red")

    def _on_error(self, event: dict[str, Any]) -> None:
        self.story.error = event
