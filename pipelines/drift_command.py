"""`goodsight drift`: what the traffic of the champion now differs in from what it was made for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import Home, Json, home_of, print_json, write_page

if TYPE_CHECKING:
    import pyarrow as pa

    from monitoring.drift import DriftReport
    from monitoring.windows import Champion


def drift(
    html: Annotated[Path | None, typer.Option(help="Write the report as a page to this file.")] = None,
    evidently: Annotated[Path | None, typer.Option(help="Write Evidently's pages, one a task, into this folder.")] = None,
    policy: Annotated[Path | None, typer.Option(help="YAML file of the retraining policy (default: monitoring/retraining.yaml).")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell in what the champion's traffic now differs from its training data and its first days, and whether that matters."""
    from datetime import UTC, datetime

    from goodsight.settings import settings
    from monitoring import drift_report, windows
    from monitoring.policy import POLICY, RetrainingPolicy

    rules = RetrainingPolicy.load(policy or POLICY).drift
    root, now = home_of(home), datetime.now(UTC)
    champion, reference = _known(root, as_json)
    report = windows.report(settings().predictions_url, champion, reference, now, rules)
    if html:
        write_page(html, drift_report.page(report, rules))
    if evidently:
        current = windows.current(settings().predictions_url, champion, now, rules)
        for path in drift_report.evidently_pages(reference, current, rules, evidently):
            typer.echo(f"Wrote {path}")
    print_json(report.to_json()) if as_json else _tell(report)


def _tell(report: DriftReport) -> None:
    from monitoring import drift_report

    for line in drift_report.lines(report):
        typer.echo(line)


def _known(root: Path, quiet: bool) -> tuple[Champion, pa.Table]:
    """The champion and its reference, made when it is missing. Raises `InputError` without a champion."""
    from datetime import datetime

    from lineage import champion
    from monitoring.windows import Champion
    from pipelines.reference import reference_of
    from serving.reference import read_reference

    now = champion.current()
    if now is None:
        raise InputError("No version is champion.", "Train one first: goodsight run.")
    reference = read_reference(reference_of(now.version, root, quiet))
    assert reference is not None
    return Champion(now.version, datetime.fromisoformat(now.since)), reference
