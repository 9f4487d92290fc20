"""Snapshot -> validated snapshot, quarantine and a verdict on the data.

The rules are the Great Expectations suites in `expectations/`. A row with a critical fault goes to quarantine with its
reasons and never stops the good ones; too many of them make the decision `failed`. Warnings keep the row. Leakage is a
warning: a product of test whose group or image is in train is good data for search, only figures on it flatter, so it
is counted and listed, not removed. A query that is left without a relevant product is left out and counted apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogue.checks import event_checks, product_checks, query_checks
from catalogue.comparison import compare
from catalogue.quarantine import KIND_OF, UNREADABLE, Released, quarantined_rows, released, unreadable_rows, write_quarantine
from catalogue.report import clean_docs, write_page
from catalogue.shards import copy_rows
from catalogue.snapshot import Snapshot, write_manifest
from catalogue.suites import Fault, Findings, Judge
from catalogue.verdict import DataVerdict
from goodsight.files import whole_folder
from goodsight.settings import settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _Judged:
    """One table after its suite: the frame of facts, the findings, and the row numbers that leave the snapshot."""

    frame: pd.DataFrame
    findings: Findings
    faults: dict[int, list[Fault]]  # row to quarantine -> why
    dropped: set[int]  # left out, not the row's own fault

    @property
    def removed(self) -> set[int]:
        return self.faults.keys() | self.dropped

    @cached_property
    def kept(self) -> pd.DataFrame:
        return self.frame.drop(index=sorted(self.removed)) if self.removed else self.frame

    @cached_property
    def kept_ids(self) -> set[str]:
        return set(self.kept["id"])

    def by_reason(self) -> Counter[str]:
        return Counter(self.faults[index][0].label for index in sorted(self.faults))


def _judged(judge: Judge, table: str, frame: pd.DataFrame, passes: Released) -> _Judged:
    findings = judge.judge(table, frame) if len(frame) else Findings([], 0)
    faults, ids = {}, frame["id"].to_numpy()
    for row, found in findings.faults.items():
        passed = passes.get((KIND_OF[table], ids[row]), set())
        if left := [fault for fault in found if fault.label not in passed]:
            faults[row] = left
    lost = set(frame.index[frame["relevant_error"].notna()]) if "relevant_error" in frame else set()
    return _Judged(frame, findings, faults, lost - faults.keys())


def _write_snapshot(snapshot: Snapshot, out: Path, judged: dict[str, _Judged]) -> dict[str, Any]:
    with whole_folder(out) as aside:
        for table, each in judged.items():
            copy_rows(snapshot, aside, table, each.removed, judged["products"].kept_ids if table == "queries" else None)
        for table in ("tombstones", "releases"):
            copy_rows(snapshot, aside, table, set())
        manifest = snapshot.manifest
        return write_manifest(aside, manifest["categories"], manifest["source"], parent=snapshot.digest)


def _coverage(products: _Judged) -> dict[str, float]:
    """Share of the kept products that have each modality."""
    kept = products.kept
    present = {
        "image": kept["image_count"] > 0,
        "video": kept["has_video"],
        "audio": kept["has_audio"],
        "description": kept["description_length"] > 0,
        "price": kept["price"].notna(),
    }
    return {name: round(float(rows.mean()), 4) if len(kept) else 0.0 for name, rows in present.items()}


def _categories(products: _Judged) -> dict[str, int]:
    return {name: int(count) for name, count in sorted(products.kept["category"].value_counts().items())}


def _decide(total: int, by_reason: Counter[str]) -> tuple[str, str]:
    """(decision, sentence) for `total` products of which `by_reason` are in quarantine."""
    bad = sum(by_reason.values())
    allowed = settings().max_quarantined
    top = ", ".join(f"{count} x {label}" for label, count in by_reason.most_common(8))
    if bad < total and bad <= allowed * total:
        return "passed", f"{total - bad:,} of {total:,} products kept" + (f"; in quarantine: {top}" if bad else "")
    return "failed", (
        f"{bad:,} of {total:,} products ({bad / total:.0%}) are in quarantine, "
        f"more than the {allowed:.0%} allowed: {top}. "
        "Correct the rows that the quarantine lists, or raise GOODSIGHT_MAX_QUARANTINED."
    )


def _verdict(snapshot: Snapshot, digest: str, judged: dict[str, _Judged], rows: list[dict[str, Any]]) -> DataVerdict:
    unreadable = Counter(row["kind"] for row in rows if row["id"] is None)
    faults = {table: each.by_reason() + Counter({UNREADABLE.label: unreadable[KIND_OF[table]]}) for table, each in judged.items()}
    given = {table: len(each.frame) + unreadable[KIND_OF[table]] for table, each in judged.items()}
    bad = {table: sum(each.values()) for table, each in faults.items()}
    decision, reason = _decide(given["products"], faults["products"])
    found = [each.findings for each in judged.values()]
    dropped = len(judged["queries"].dropped)
    return DataVerdict(
        decision=decision,
        reason=reason,
        products_in=given["products"],
        kept=given["products"] - bad["products"],
        quarantined=bad["products"],
        by_reason=dict(faults["products"].most_common()),
        queries_in=given["queries"],
        queries_kept=given["queries"] - bad["queries"] - dropped,
        queries_quarantined=bad["queries"],
        queries_dropped=dropped,
        queries_by_reason=dict(faults["queries"].most_common()),
        events_in=given["events"],
        events_kept=given["events"] - bad["events"],
        events_quarantined=bad["events"],
        events_by_reason=dict(faults["events"].most_common()),
        warnings=[warning for findings in found for warning in findings.warnings],
        coverage=_coverage(judged["products"]),
        categories=_categories(judged["products"]),
        expectations={"total": sum(len(each.outcomes) for each in found), "failed": sum(each.failed for each in found)},
        raw_digest=snapshot.digest,
        digest=digest,
    )


def _judge_all(raw: Snapshot, judge: Judge) -> dict[str, _Judged]:
    """Every table after its suite."""
    passes = released(raw)
    products = _judged(judge, "products", product_checks(raw), passes)
    kept = products.kept_ids
    return {
        "products": products,
        "queries": _judged(judge, "queries", query_checks(raw, kept), passes),
        "events": _judged(judge, "events", event_checks(raw, kept), passes),
    }


def validate(snapshot: Path, out: Path, quarantine: Path, report: Path, before: dict[str, Any] | None = None) -> DataVerdict:
    """Judges the snapshot in folder `snapshot` and returns the verdict; with `before`, the verdict on the one before it, compared.

    Writes the validated snapshot to folder `out`, the bad rows to the Parquet file `quarantine` (QUARANTINE_SCHEMA) and
    the report to folder `report` (`index.html`, and the Data Docs behind it), also when the decision is `failed`. Raises
    `InputError` or `IntegrityError` when the snapshot's manifest is broken or its bytes have changed.
    """
    raw = Snapshot.open(snapshot)
    run = raw.digest[:12]
    with whole_folder(report) as aside:
        judge = Judge(aside, run)
        judged = _judge_all(raw, judge)
        judge.write_docs()
        clean_docs(aside)
        bad = (quarantined_rows(raw, table, each.faults) for table, each in judged.items())
        rows = [*chain.from_iterable(bad), *unreadable_rows(raw)]
        write_quarantine(quarantine, rows)
        manifest = _write_snapshot(raw, out, judged)
        verdict = _verdict(raw, manifest["digest"], judged, rows)
        verdict = replace(verdict, compared=compare(before, verdict)) if before else verdict
        write_page(aside, run, verdict, judge.findings, raw)
    return verdict
