"""What `goodsight audit` prints: a passport as a tree, and what uses something as tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from lineage.graph import Node, Passport, State
from lineage.wording import money

if TYPE_CHECKING:
    from rich.table import Table

MARKS: dict[State, tuple[str, str]] = {
    "verified": ("\N{CHECK MARK}", "green"),
    "recorded": ("\N{BULLET}", "cyan"),
    "missing": ("?", "yellow"),
    "altered": ("\N{BALLOT X} ALTERED", "red"),
}
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
SHOWN = 100  # characters of a fact
LISTED = 20


def passport_tree(made: Passport) -> None:
    """The graph as a tree from its root, in plain text, which needs no import; what was shown before is named and not repeated."""
    root = made.nodes[made.root]
    typer.echo(_line(root))
    _grow(made, root, "", {made.root})
    counts = ", ".join(f"{count} {state}" for state in MARKS if (count := made.count(state)))
    typer.secho(f"{len(made.nodes)} links: {counts}. Checked {made.made}{', every byte' if made.deep else ''}.", bold=True)


def _grow(made: Passport, node: Node, indent: str, seen: set[str]) -> None:
    edges = made.targets(node.id)
    for name, value in node.facts.items():
        if value not in (None, "", [], {}):
            typer.echo(f"{indent}{'│  ' if edges else '   '}{typer.style(name, dim=True)} {_short(value)}")
    for edge in edges:
        last, found = edge is edges[-1], made.nodes[edge.target]
        told = f"{indent}{'└─ ' if last else '├─ '}{typer.style(edge.label, dim=True)} "
        if found.id in seen:
            typer.echo(f"{told}{found.kind} {found.label} (above)")
            continue
        seen.add(found.id)
        typer.echo(told + _line(found))
        _grow(made, found, indent + ("   " if last else "│  "), seen)


def _line(node: Node) -> str:
    mark, colour = MARKS[node.state]
    name, how = typer.style(_plain(node.label), bold=True), typer.style(_plain(node.how), dim=True)
    return f"{typer.style(mark, fg=colour)} {node.kind} {name} {how}"


def _plain(text: str) -> str:
    """Without what a terminal obeys: an id or a reason may hold anything."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}: {each}" for name, each in value.items())
    elif isinstance(value, list):
        shown = ", ".join(map(_item, value[:LISTED]))
        value = f"{len(value)}: {shown}"
    text = DIGEST.sub(r"\1", _plain(str(value)))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… (--json has it whole)"


def _item(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(each) for each in value.values())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def uses_tables(found: dict[str, Any]) -> None:
    """What depends on a snapshot or knows a product."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    if "versions" in found:
        kept = {True: "yes", False: "no, in quarantine"}
        rows = [(each["revision"], each["digest"][:12], kept[each["kept"]]) for each in found["versions"]]
        console.print(_table(f"Versions that have {found.get('product', 'the shard')}", ("revision", "digest", "let through"), rows))
        for revision in found.get("elsewhere", ()):
            console.print(f"Nobody can say of {escape(revision)}: its bytes are not in this home (`goodsight catalogue get` brings them).")
    models = [(each["version"], each["candidate"][:12], each["snapshot"][:12], each["revision"]) for each in found["models"]]
    console.print(_table("Models", ("version", "candidate", "snapshot", "revision"), models))
    console.print(_table("Indexes", ("version", "index"), [(each["version"], each["index"][:12]) for each in found["indexes"]]))
    answers = [(each["model_version"], f"{each['count']:,}", each["first"], each["last"]) for each in found["answers"]]
    console.print(_table("Answers of these models", ("version", "answers", "first", "last"), answers))
    if "shown" in found:
        newest = [(each["id"], each["time"], each["model_version"]) for each in found["shown"]["newest"]]
        console.print(_table(f"Answers that showed it: {found['shown']['count']:,}", ("newest", "time", "version"), newest))
        for gap in found["gaps"]:
            lost = f"{gap['count']:,} answers between {gap['since']} and {gap['until']}"
            console.print(f"{lost} were not logged: nobody knows what they showed.")


def cost_table(found: dict[str, Any]) -> None:
    """What a run took."""
    from rich.console import Console

    columns = ("step", "seconds", "CPU s", "GPU s", "memory", "Wh", f"cost {found['currency']}".strip())
    steps = [(name, f"{seconds:,.1f}", *_used(found["measured"][name] or {})) for name, seconds in found["steps"].items()]
    steps += [(name, "from the cache", *[""] * 5) for name in found["cached"]]
    steps.append(("in all", "", *_used(found)))
    total = f"{found['seconds']:,.1f} s" if found["seconds"] is not None else "an unknown time"
    title = f"Run {found['run_id']} of {found['revision']}: {found['state']}, {total}"
    console = Console(highlight=False)
    console.print(_table(title, columns, steps))
    if gain := found["gain"]:
        each = f", {money(found['per_point'], found['currency'])} for each" if found["per_point"] is not None else ""
        console.print(f"It gained {gain['points']:+.1f} points of {gain['metric']} over the champion{each}.")


def _used(told: dict[str, Any]) -> tuple[str, ...]:
    """CPU seconds, GPU seconds, memory, watt-hours, money; empty what nobody measured."""
    times = ["" if told.get(name) is None else f"{told[name]:,.1f}" for name in ("cpu_seconds", "gpu_seconds")]
    memory = "" if told.get("peak_rss_bytes") is None else f"{told['peak_rss_bytes'] / 2**20:,.0f} MiB"
    watt_hours = "" if told.get("energy_kwh") is None else f"{1000 * told['energy_kwh']:,.3f}"
    return (*times, memory, watt_hours, money(told.get("cost")))


def economy_table(found: dict[str, Any]) -> None:
    """What all runs came to."""
    from rich.console import Console

    currency = found["currency"]
    rows = [
        ("runs", f"{found['runs']:,}, of which {found['promoted']:,} brought a new version"),
        ("CPU hours", f"{(found['cpu_seconds'] or 0) / 3600:,.3f}"),
        ("GPU hours", f"{(found['gpu_seconds'] or 0) / 3600:,.3f}"),
        ("energy", f"{found['energy_kwh'] or 0:,.4f} kWh, estimated"),
        ("cost of the runs", money(found["cost"], currency)),
        ("points gained", f"{found['points']:,.1f}"),
        ("cost of a point", money(found["per_point"], currency) or "no point was gained"),
        ("answers", f"{found['answers']:,} in {found['answer_seconds']:,.1f} s"),
        ("cost of answering", f"{money(found['answering'], currency)} at most"),
        ("cost of 1,000 answers, runs included", money(found["per_1000_answers"], currency) or "nothing was answered"),
    ]
    Console(highlight=False).print(_table("What the models cost", ("what", "figure"), rows))


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(_plain(title)), title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_plain(cell)) for cell in row))
    return table
