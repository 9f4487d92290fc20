"""Snapshot -> validated snapshot, quarantine and a verdict on the data.

The rules are the Great Expectations suites in `expectations/`. A row with a critical fault goes to quarantine with its
reasons and never stops the good ones; too many of them make the decision `failed`. Warnings keep the row. Leakage is a
warning: a product of test whose group or image is in train is good data for search, only figures on it flatter, so it
is counted and listed, not removed. A query that is left without a relevant product is left out and counted apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogue.checks import product_checks, query_checks
from catalogue.records import MEDIA
from catalogue.report import clean_docs, write_page
from catalogue.shards import copy_rows
from catalogue.snapshot import TABLES, Snapshot, write_manifest
from catalogue.suites import Fault, Findings, Judge
from catalogue.verdict import DataVerdict
from goodsight.files import whole_folder, write_bytes
from goodsight.settings import settings

if TYPE_CHECKING:
    import pandas as pd

QUARANTINE_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # product, query or event
        ("id", pa.string()),  # null for a line that could not be read
        ("file", pa.string()),
        ("line", pa.int32()),
        ("reasons", pa.list_(pa.string())),
        ("expectations", pa.list_(pa.string())),
        ("row", pa.string()),  # JSON without media bytes, or the start of the unreadable line
    ]
)
UNREADABLE = Fault("one JSON object with an id a line", "unreadable line", "")
KINDS = {"products": "product", "queries": "query"}


@dataclass(frozen=True)
class _Judged:
    """One table after its suite: the frame of facts, the findings, and the row numbers that leave the snapshot."""

    frame: pd.DataFrame
    findings: Findings
    bad: set[int]  # to quarantine
    dropped: set[int]  # left out, not the row's own fault

    @property
    def removed(self) -> set[int]:
        return self.bad | self.dropped

    def kept_ids(self) -> set[str]:
        return set(self.frame["id"].drop(index=sorted(self.removed)))

    def by_reason(self) -> Counter[str]:
        return Counter(self.findings.faults[index][0].label for index in sorted(self.bad))


def _judged(judge: Judge, name: str, frame: pd.DataFrame) -> _Judged:
    findings = judge.judge(name, frame) if len(frame) else Findings([], 0)
    bad = set(findings.faults)
    lost = set(frame.index[frame["relevant_error"].notna()]) if "relevant_error" in frame else set()
    return _Judged(frame, findings, bad, lost - bad)


def _row_json(row: dict[str, Any]) -> str:
    """A row as JSON for people: NaN and infinities as text, times in ISO 8601."""
    shown = {
        name: str(value) if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in row.items()
    }
    return json.dumps(shown, ensure_ascii=False, default=str)


def _quarantined_rows(snapshot: Snapshot, table: str, judged: _Judged) -> Iterator[dict[str, Any]]:
    names = [name for name in TABLES[table].names if name not in MEDIA]
    bad = sorted(judged.bad)
    for index, row in zip(bad, snapshot.take(table, bad, names), strict=True):
        faults = judged.findings.faults[index]
        yield {
            "kind": KINDS[table],
            "id": row["id"],
            "file": row["file"],
            "line": row["line"],
            "reasons": [fault.reason for fault in faults],
            "expectations": [fault.expectation for fault in faults],
            "row": _row_json(row),
        }


def _unreadable_rows(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for row in snapshot.read("unreadable").to_pylist():
        given = {"reasons": [row["reason"]], "expectations": [UNREADABLE.expectation], "row": row["text"], "id": None}
        yield {name: row[name] for name in ("kind", "file", "line")} | given


def _write_quarantine(path: Path, rows: list[dict[str, Any]]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def _write_snapshot(snapshot: Snapshot, out: Path, products: _Judged, queries: _Judged) -> dict[str, Any]:
    with whole_folder(out) as aside:
        copy_rows(snapshot, aside, "products", products.removed)
        copy_rows(snapshot, aside, "queries", queries.removed, products.kept_ids())
        for table in ("events", "tombstones"):
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
        expectations={"total": sum(len(each.outcomes) for each in found), "failed": sum(each.failed for each in found)},
        raw_digest=snapshot.digest,
        digest=digest,
    )


def validate(snapshot: Path, out: Path, quarantine: Path, report: Path) -> DataVerdict:
    """Judges the snapshot in folder `snapshot` and returns the verdict.

    Writes the validated snapshot to folder `out`, the bad rows to the Parquet file `quarantine` (QUARANTINE_SCHEMA) and
    the report to folder `report` (`index.html`, and the Data Docs behind it), also when the decision is `failed`. Raises `InputError` or
    `IntegrityError` when the snapshot's manifest is broken or its bytes have changed.
    """
    raw = Snapshot.open(snapshot)
    run = raw.digest[:12]
    with whole_folder(report) as aside:
        judge = Judge(aside, run)
        products = _judged(judge, "products", product_checks(raw))
        queries = _judged(judge, "queries", query_checks(raw, products.kept_ids()))
        judge.write_docs()
        clean_docs(aside)
        rows = [
            *_quarantined_rows(raw, "products", products),
            *_quarantined_rows(raw, "queries", queries),
            *_unreadable_rows(raw),
        ]
        _write_quarantine(quarantine, rows)
        manifest = _write_snapshot(raw, out, products, queries)
        verdict = _verdict(raw, manifest["digest"], products, queries, rows)
        write_page(aside, run, verdict, judge.findings, raw)
    return verdict
