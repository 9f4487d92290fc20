"""The Data Docs of a validation as plain files: no script, nothing loaded from other hosts, an index page of our own.

Great Expectations draws its index with scripts from several hosts and its pages hold text from the catalogue; both end
here. The pages carry a content security policy that allows inline styles alone, so hostile text stays text.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from html import escape
from pathlib import Path

POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
STYLE = """<style>
body { font-family: sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem 3rem; }
table { border-collapse: collapse; }
td, th { border: 1px solid #bbb; padding: .3rem .6rem; text-align: left; vertical-align: top; }
.failed { color: #a00; font-weight: bold; }
footer, button { display: none; }
</style>"""
LIVELY = re.compile(
    r"<script.*?</script>|<script[^>]*>|<link[^>]*>|<img[^>]*>|<footer.*?</footer>", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True)
class Line:
    """One expectation on the index page: what it says, whether it held, how many rows fell out, the first reasons."""

    description: str
    severity: str
    held: bool
    rows: int
    reasons: list[str]


def _table(suite: str, lines: list[Line], page: str) -> str:
    rows = "".join(
        f'<tr><td class="{"held" if line.held else "failed"}">{"held" if line.held else "failed"}</td>'
        f"<td>{escape(line.description)}</td><td>{escape(line.severity)}</td><td>{line.rows:,}</td>"
        f"<td>{'<br>'.join(map(escape, line.reasons))}</td></tr>"
        for line in sorted(lines, key=lambda line: line.held)
    )
    head = "<tr><th>Result</th><th>Expectation</th><th>Severity</th><th>Rows</th><th>Reasons (the first)</th></tr>"
    return f'<h2>{suite}</h2><p><a href="{escape(page)}">All details</a></p><table>{head}{rows}</table>'


def _clean(page: Path) -> None:
    text = LIVELY.sub("", page.read_text(encoding="utf-8"))
    page.write_text(text.replace("<head>", f"<head>{POLICY}{STYLE}", 1), encoding="utf-8")


def finish_report(report: Path, run: str, suites: dict[str, list[Line]]) -> None:
    """Cleans every page below `report` and writes its `index.html`: all expectations, the failed ones first."""
    shutil.rmtree(report / "static", ignore_errors=True)
    for page in report.rglob("*.html"):
        _clean(page)
    tables = []
    for suite, lines in suites.items():
        detail = next((report / "validations" / suite).rglob("*.html"))
        tables.append(_table(suite, lines, detail.relative_to(report).as_posix()))
    head = f'<meta charset="utf-8">{POLICY}<title>Data Docs of snapshot {escape(run)}</title>{STYLE}'
    body = f"<h1>Data Docs of snapshot {escape(run)}</h1>{''.join(tables) or '<p>There was no row to judge.</p>'}"
    (report / "index.html").write_text(
        f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>\n", encoding="utf-8"
    )
