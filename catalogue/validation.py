"""Snapshot -> validated snapshot, quarantine and a verdict on the data.

The rules are the Great Expectations suites in `expectations/`. A row with a critical fault goes to quarantine with its
reasons and never stops the good ones; too many of them make the decision `failed`. Warnings keep the row. Leakage is a
warning: a product of test whose group or image is in train is good data for search, only figures on it flatter, so it
is counted and listed, not removed. A query that is left without a relevant product is left out and counted apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogue.checks import product_checks, query_checks
from catalogue.comparison import compare
from catalogue.quarantine import KINDS, UNREADABLE, Released, quarantined_rows, released, unreadable_rows, write_quarantine
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

    def kept_ids(self) -> set[str]:
        return set(self.frame["id"].drop(index=sorted(self.removed)))

    def by_reason(self) -> Counter[str]:
        return Counter(self.faults[index][0].label for index in sorted(self.faults))


def _judged(judge: Judge, table: str, frame: pd.DataFrame, passes: Released) -> _Judged:
    findings = judge.judge(table, frame) if len(frame) else Findings([], 0)
    faults = {}
    for row, found in findings.faults.items():
        passed = passes.get((KINDS[table], frame["id"].iat[row]), set())
        if left := [fault for fault in found if fault.label not in passed]:
            faults[row] = left
    lost = set(frame.index[frame["relevant_error"].notna()]) if "relevant_error" in frame else set()
    return _Judged(frame, findings, faults, lost - faults.keys())


def _write_snapshot(snapshot: Snapshot, out: Path, products: _Judged, queries: _Judged) -> dict[str, Any]:
    with whole_folder(out) as aside:
        copy_rows(snapshot, aside, "products", products.removed)
        copy_rows(snapshot, aside, "queries", queries.removed, products.kept_ids())
        for table in ("events", "tombstones", "releases"):
            copy_rows(snapshot, aside, table, set())
        manifest = snapshot.manifest
        return write_manifest(aside, manifest["categories"], manifest["source"], parent=snapshot.digest)


def _coverage(products: _Judged) -> dict[str, float]:
    """Share of the kept products that have each modality."""
    kept = products.frame.drop(index=sorted(products.removed))
    present = {
        "image": kept["image_count"] > 0,
        "video": kept["has_video"],
        "audio": kept["has_audio"],
        "description": kept["description_length"] > 0,
        "price": kept["price"].notna(),
    }
    return {name: round(float(rows.mean()), 4) if len(kept) else 0.0 for name, rows in present.items()}


def _categories(products: _Judged) -> dict[str, int]:
    kept = products.frame["category"].drop(index=sorted(products.removed))
    return {name: int(count) for name, count in sorted(Counter(kept).items())}


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


def _verdict(
    snapshot: Snapshot, digest: str, products: _Judged, queries: _Judged, rows: list[dict[str, Any]]
) -> DataVerdict:
    unreadable = Counter(row["kind"] for row in rows if row["id"] is None)
    faults = products.by_reason() + Counter({UNREADABLE.label: unreadable["product"]})
    query_faults = queries.by_reason() + Counter({UNREADABLE.label: unreadable["query"]})
    total, total_queries = len(products.frame) + unreadable["product"], len(queries.frame) + unreadable["query"]
    decision, reason = _decide(total, faults)
    found = (products.findings, queries.findings)
    return DataVerdict(
        decision=decision,
        reason=reason,
        products_in=total,
        kept=total - sum(faults.values()),
        quarantined=sum(faults.values()),
        by_reason=dict(faults.most_common()),
        queries_in=total_queries,
        queries_kept=total_queries - sum(query_faults.values()) - len(queries.dropped),
        queries_quarantined=sum(query_faults.values()),
        queries_dropped=len(queries.dropped),
        queries_by_reason=dict(query_faults.most_common()),
        warnings=[warning for findings in found for warning in findings.warnings],
        coverage=_coverage(products),
        categories=_categories(products),
        expectations={"total": sum(len(each.outcomes) for each in found), "failed": sum(each.failed for each in found)},
        raw_digest=snapshot.digest,
        digest=digest,
    )


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
        passes = released(raw)
        products = _judged(judge, "products", product_checks(raw), passes)
        queries = _judged(judge, "queries", query_checks(raw, products.kept_ids()), passes)
        judge.write_docs()
        clean_docs(aside)
        bad = (quarantined_rows(raw, table, judged.faults) for table, judged in (("products", products), ("queries", queries)))
        rows = [*chain.from_iterable(bad), *unreadable_rows(raw)]
        write_quarantine(quarantine, rows)
        manifest = _write_snapshot(raw, out, products, queries)
        verdict = _verdict(raw, manifest["digest"], products, queries, rows)
        verdict = replace(verdict, compared=compare(before, verdict)) if before else verdict
        write_page(aside, run, verdict, judge.findings, raw)
    return verdict
