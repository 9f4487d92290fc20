"""The report of a validation as plain files: one page for people, and behind it the Data Docs of Great Expectations.

Great Expectations draws its index with scripts from several hosts and its pages hold text from the catalogue; both end
here. The pages carry a content security policy that allows inline styles alone, so hostile text stays text. Without its
scripts and fonts its dark mode is half a page and its signs are missing: pages are light, and the signs are drawn here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalogue.page import render, thumbnail
from catalogue.snapshot import Snapshot
from catalogue.suites import Findings, Outcome
from catalogue.verdict import DataVerdict
from goodsight.files import write_bytes

POLICY = "<meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
STYLE = """<style>
body { font-family: sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem 3rem; background: #fff; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
td, th { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { overflow-wrap: normal; }
footer, button { display: none; }
.fa-check-circle::before { content: "\\2713"; color: #2a8a3a; } .fa-times::before { content: "\\2717"; color: #b3261e; }
@media (max-width: 40rem) { body { padding: 0 .5rem 3rem; } table { font-size: .85rem; } td, th { padding: .2rem .3rem; } }
</style>"""
LIVELY = re.compile(
    r"<script.*?</script>|<script[^>]*>|<link[^>]*>|<img[^>]*>|<footer.*?</footer>", re.DOTALL | re.IGNORECASE
)
SHOWN = {
    "products": ["id", "title", "images", "file", "line"],
    "queries": ["id", "text", "image", "file", "line"],
    "events": ["product", "kind", "file", "line"],
}


HANDLER = re.compile(r"""(<[a-z][^<>]*?)\son[a-z]+="[^"<>]*\"""", re.IGNORECASE)


def clean_docs(report: Path) -> None:
    """Takes what is alive out of every page below `report`."""
    shutil.rmtree(report / "static", ignore_errors=True)
    for page in report.rglob("*.html"):
        text = HANDLER.sub(r"\1", LIVELY.sub("", page.read_text(encoding="utf-8")))
        text = text.replace("@media (prefers-color-scheme: dark)", "@media not all")
        text = text.replace("<html>", '<html lang="en">', 1).replace("<head>", f"<head>{POLICY}{STYLE}", 1)
        page.write_text(text, encoding="utf-8")


def write_page(report: Path, run: str, verdict: DataVerdict, findings: dict[str, Findings], snapshot: Snapshot) -> None:
    """Writes `index.html`: the verdict, and every expectation that did not hold with pictures of the rows that it found."""
    suites = [
        {
            "name": name,
            "failed": list(_failed(found, snapshot, name)),
            "held": [outcome for outcome in found.outcomes if outcome.held],
            "details": sorted(page.relative_to(report).as_posix() for page in report.glob(f"validations/{name}-*/**/*.html")),
        }
        for name, found in findings.items()
        if found.outcomes
    ]
    write_bytes(report / "index.html", render("validation", run=run, verdict=verdict, suites=suites).encode())


def _failed(findings: Findings, snapshot: Snapshot, table: str) -> Iterator[dict[str, Any]]:
    for outcome in findings.outcomes:
        if not outcome.held:
            yield {**vars(outcome), "examples": list(_examples(outcome, snapshot, table))}


def _examples(outcome: Outcome, snapshot: Snapshot, table: str) -> Iterator[dict[str, Any]]:
    """The first rows that an expectation found, as a person looks at them."""
    rows = outcome.examples()
    for number, row in zip(rows, snapshot.take(table, rows, SHOWN[table]), strict=True):
        images = row.get("images") or [image for image in [row.get("image")] if image is not None]
        shown = [address for image in images[:1] if (address := thumbnail(image))]
        told = outcome.reasons if outcome.severity == "critical" else outcome.facts
        words = row.get("title") or row.get("text") or row.get("kind") or ""
        yield {**row, "id": row.get("id") or row.get("product"), "words": words, "images": shown, "told": told[outcome.rows.index(number)]}
