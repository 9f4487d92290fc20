"""The stretches of the prediction log that are compared, and the report on the newest of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa

from lineage.traffic import read, with_clicks
from monitoring.drift import DriftReport, compare
from monitoring.drift_policy import DriftPolicy


@dataclass(frozen=True)
class Champion:
    """Whose traffic is compared: a version, champion since `since` (with a time zone)."""

    version: str
    since: datetime


def current(url: str, champion: Champion, now: datetime, policy: DriftPolicy, since: datetime | None = None) -> pa.Table:
    """The window of the champion's answers that ends at `now`, none before `since`."""
    window = policy.window
    earliest = max(since or champion.since, now - timedelta(days=window.longest_days))
    table = read(url, max(earliest, now - timedelta(days=window.days)), now, champion.version, window.most)
    return table if table.num_rows >= window.fewest else read(url, earliest, now, champion.version, window.fewest)


def baseline(url: str, champion: Champion, now: datetime, policy: DriftPolicy) -> tuple[pa.Table, datetime] | None:
    """The champion's first traffic and when it ended; None while it is still gathered. It lasts longer where little comes."""
    learned, fewest = champion.since + timedelta(days=policy.baseline_days), policy.window.fewest
    if now < learned:
        return None
    first = read(url, champion.since, learned, champion.version, policy.window.most)
    if first.num_rows >= fewest:
        return first, learned
    first = read(url, champion.since, now, champion.version, fewest, oldest=True)
    return (first, first["time"][-1].as_py()) if first.num_rows == fewest else None


def report(
    url: str, champion: Champion, reference: pa.Table, now: datetime, policy: DriftPolicy, clicked: Collection[str] | None = None
) -> DriftReport:
    """The report on the window that ends at `now`, beside the reference and the champion's first traffic.

    While that is gathered, nothing drifts and the state is `learning`: the findings tell how far traffic is from the reference.
    `clicked` are the ids of answers that were clicked, where feedback is given. Raises `GoodsightError` when the log cannot be read.
    """
    known = baseline(url, champion, now, policy)
    first, learned = known or (None, None)
    table = current(url, champion, now, policy, learned)
    if clicked is not None:
        first, table = first and with_clicks(first, clicked), with_clicks(table, clicked)
    found = replace(compare(reference, table, policy, first), version=champion.version)
    return found if known else _learning(found, champion, policy)


def _learning(found: DriftReport, champion: Champion, policy: DriftPolicy) -> DriftReport:
    findings = tuple(replace(each, drifted=False) for each in found.findings)
    fewest, days = policy.window.fewest, policy.baseline_days
    said = f"The first traffic of version {champion.version} is still gathered, {days:g} days and {fewest:,} answers of it."
    return replace(found, findings=findings, state="learning" if findings else "few", explanation=said)
