"""What the `goodsight` command prints: tables for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lineage.registry import metric_name, ui_command
from lineage.wording import money
from pipelines.options import print_json, refused

if TYPE_CHECKING:
    from lineage.champion import Reign

FIGURES = (
    "leaf_accuracy",
    "macro_f1",
    "image_to_text_recall@1",
    "text_to_image_recall@1",
    "query_to_product_recall@1",
    "query_to_product_recall@10",
    "query_to_product_map",
    "image_to_product_recall@1",
    "image_to_product_recall@10",
)
KEY_FIGURES = {"leaf_accuracy": "leaf accuracy", "query_to_product_recall@1": "query R@1", "query_to_product_map": "query mAP"}


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def tell_run(result: dict[str, Any], quiet: bool, as_json: bool) -> None:
    """How a run ended. Raises `GoodsightError` when the data or the candidate did not pass."""
    if not quiet:
        closing_table(result)
    if as_json:
        print_json(result)
    if result["data_verdict"] != "passed":
        docs = result["paths"]["data_docs"]
        raise refused(f"The data was refused before training. {result['data_reason']}", f"See {docs}")
    if result["verdict"] != "promote":
        raise refused("The gate rejected the candidate; what serves now goes on serving.", f"goodsight gate explain {result['run_id']}")


def closing_table(result: dict[str, Any]) -> None:
    """The end of a run: data, figures beside baselines, verdict, version, where to look."""
    console = Console(highlight=False)
    console.print(_figures(result))
    paths = result["paths"]
    cached = sum(step["cached"] for step in result["steps"])
    rows = {
        "data": f"{result['data_verdict']}: {result['products']:,} products kept, {result['quarantined']:,} in quarantine",
        "gate": result["verdict"] or "not reached",
        "model version": result["model_version"] or "none",
        "champion": result["champion"] or "none",
        "steps": f"{len(result['steps'])}, {cached} of them from the cache",
        "time and memory": f"{result['seconds']:.0f} s, {result['peak_rss_bytes'] / 2**30:.1f} GiB",
        "cost": money(result["cost"]["money"], result["cost"]["currency"]),
        "serve it": f"goodsight serve   ({result['endpoint']})" if result["endpoint"] else "nothing new to serve",
        "data docs": paths.get("data_docs", ""),
        "quarantine": paths.get("quarantine", ""),
        "plots": paths.get("plots", ""),
        "experiments": ui_command(),
    }
    table = _table(f"Run {result['run_id']} of {result['revision']}", "what", "result")
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(str(value)))
    console.print(table)


def _figures(result: dict[str, Any]) -> Table:
    table = _table("Held-out figures (full test gallery)", "figure", "model", "words alone (TF-IDF)")
    for name in FIGURES:
        if name in result["metrics"]:
            words = result["baselines"].get(f"{name}_tfidf")
            table.add_row(name, f"{100 * result['metrics'][name]:.1f}", "" if words is None else f"{100 * words:.1f}")
    return table


def products_table(answer: dict[str, Any]) -> None:
    table = _table(f"Model version {answer['model_version']}", "score", "title", "category", "id")
    for row in answer["results"]:
        table.add_row(f"{row['score']:.3f}", escape(row["title"]), escape(row["category"] or ""), escape(row["id"]))
    Console(highlight=False).print(table)


def categories_table(answer: dict[str, Any]) -> None:
    table = _table(f"Model version {answer['model_version']}", "probability", "category")
    for row in answer["results"]:
        table.add_row(f"{row['probability']:.3f}", escape(row["category"]))
    Console(highlight=False).print(table)


def versions_table(versions: list[dict[str, Any]]) -> None:
    table = _table("Catalogue versions", "revision", "products", "queries", "created")
    for version in versions:
        counts = version["counts"]
        table.add_row(version["revision"], f"{counts['products']:,}", f"{counts['queries']:,}", version["created"])
    Console(highlight=False).print(table)


def version_table(version: dict[str, Any]) -> None:
    table = _table(version["revision"], "what", "value")
    for name in ("name", "digest", "parent", "source", "split_rule", "created"):
        table.add_row(name, escape(str(version.get(name))))
    for name in ("counts", "licences"):
        table.add_row(name, escape(", ".join(f"{key}: {value:,}" for key, value in version[name].items())))
    Console(highlight=False).print(table)


def data_table(verdict: dict[str, Any], page: Path) -> None:
    """A verdict on data: counts, what is in quarantine and why, warnings, what moved since the snapshot before."""
    table = _table(f"Data: {verdict['decision']}. {verdict['reason']}", "what", "rows", "examples or reason")
    for label, count in (*verdict["by_reason"].items(), *verdict["queries_by_reason"].items(), *verdict["events_by_reason"].items()):
        table.add_row(f"in quarantine: {label}", f"{count:,}", "goodsight catalogue quarantine show")
    for warning in verdict["warnings"]:
        table.add_row(escape(warning["label"]), f"{warning['count']:,}", escape(", ".join(map(str, warning["examples"]))))
    for sentence in (verdict["compared"] or {}).get("notable", []):
        table.add_row("since the version before", "", escape(sentence))
    table.add_row("page", "", escape(str(page)))
    Console(highlight=False).print(table)


def quarantine_table(revision: str, rows: list[dict[str, Any]], shown: int) -> None:
    """The first `shown` rows in quarantine, and how many there are."""
    table = _table(f"Quarantine of {revision}: {len(rows):,} rows", "kind", "id", "where", "reasons")
    for row in rows[:shown]:
        table.add_row(row["kind"], escape(row["id"] or ""), escape(f"{row['file']}:{row['line']}"), escape("\n".join(row["reasons"])))
    console = Console(highlight=False)
    console.print(table)
    if len(rows) > shown:
        console.print(f"... and {len(rows) - shown:,} more: --shown {len(rows)} or --json")


def models_table(versions: list[dict[str, Any]]) -> None:
    """The registered versions; figures in %."""
    table = _table("Model versions", "version", "architecture", "snapshot", *KEY_FIGURES.values(), "verdict", "aliases", "age")
    for version in versions:
        figures = (version["metrics"].get(metric_name(name)) for name in KEY_FIGURES)
        marks = [*version["aliases"], *(["served"] if version["served"] else [])]
        table.add_row(
            version["version"],
            version["architecture"],
            escape(version["revision"]),
            *("" if figure is None else f"{100 * figure:.1f}" for figure in figures),
            version["decision"],
            ", ".join(marks),
            _age(version["registered"]),
        )
    Console(highlight=False).print(table)


def model_tables(model: dict[str, Any]) -> None:
    """Everything of one version: facts, figures beside baselines, provenance of its bundles, events of the ledger."""
    console = Console(highlight=False)
    facts = _table(f"Model version {model['version']}", "what", "value")
    for name in ("architecture", "revision", "snapshot", "candidate", "index", "decision", "verdict", "registered", "run"):
        facts.add_row(name, escape(str(model[name])))
    facts.add_row("aliases", ", ".join(model["aliases"]))
    for name, value in model["params"].items():
        facts.add_row(name, escape(value))
    for task, digest in model["bundles"].items():
        facts.add_row(f"bundle {task}", digest)
        for name, value in model["provenance"].get(task, {}).items():
            facts.add_row(f"bundle {task}: {name}", escape(json.dumps(value)))
    console.print(facts)
    console.print(_figures(model))
    console.print(events_table(f"What the ledger tells of version {model['version']}", model["events"]))


def events_table(title: str, events: list[dict[str, Any]]) -> Table:
    table = _table(title, "seq", "time", "kind", "actor", "reason")
    for event in events:
        table.add_row(str(event["seq"]), event["time"], event["kind"], escape(event["actor"]), escape(event["payload"].get("reason", "")))
    return table


def reign_table(reign: Reign, time: str) -> None:
    table = _table(f"Champion at {time}", "what", "value")
    rows = {
        "version": reign.version,
        "candidate": reign.candidate,
        "since": reign.since,
        "until": reign.until or "now",
        "made champion by": reign.by,
        "because": reign.reason,
        "instead of": reign.previous or "none: the first",
        "ledger event": str(reign.seq),
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    Console(highlight=False).print(table)


def _age(time: str) -> str:
    """How long ago an ISO 8601 time was, in its largest unit."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def features_table(rows: list[dict[str, Any]]) -> None:
    """Features down, products across."""
    table = _table("Features now", "feature", *(escape(row["product_id"]) for row in rows))
    for name in rows[0]:
        if name != "product_id":
            table.add_row(name, *(_said(row[name]) for row in rows))
    Console(highlight=False).print(table)


def _said(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else escape(str(value))


def skew_table(found: list[Any]) -> None:
    """Features, worst first, with how many products differ."""
    table = _table("Training-serving skew", "feature", "compared", "differing", "largest difference", "for example")
    for each in found:
        table.add_row(each.feature, f"{each.compared:,}", f"{each.differing:,}", f"{each.largest:g}", each.example)
    Console(highlight=False).print(table)


def audit_table(checks: list[Any]) -> None:
    """What was checked, one by one, and what is wrong."""
    table = _table("Checked", "what", "", "found")
    for check in checks:
        table.add_row(check.name, "FAILED" if check.fault else "ok", escape(check.fault or check.found))
    Console(highlight=False).print(table)


def overrides_table(overrides: list[dict[str, Any]]) -> None:
    table = _table("Overrides of the gate", "check", "candidate", "by", "until", "in force", "reason")
    for each in overrides:
        whom, holds = each["candidate"][:12] or "every one", "yes" if each["in_force"] else "no"
        table.add_row(*map(escape, (each["check"], whom, each["by"], each["until"], holds, each["reason"])))
    Console(highlight=False).print(table)
