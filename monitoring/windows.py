"""The stretches of the prediction log that are compared, and the report on the newest of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lineage.feedback import clicked
from lineage.traffic import read, with_clicks
from monitoring.drift import DriftReport, compare
from monitoring.drift_policy import DriftPolicy

TASKS = ("categorize", "search", "recommend", "similar", "embed")  # what a window may be extended for


@dataclass(frozen=True)
class Champion:
    """Whose traffic is compared: a version, champion since `since` (with a time zone)."""

    version: str
    since: datetime


def current(url: str, champion: Champion, now: datetime, policy: DriftPolicy, first: pa.Table | None = None) -> pa.Table:
    """The window of the champion's answers that ends at `now`; of each task only what came after its rows in `first`."""
    window = policy.window
    table = read(url, max(champion.since, now - timedelta(days=window.days)), now, champion.version, window.most)
    earliest = max(champion.since, now - timedelta(days=window.longest_days))
    parts = [_of("", table)]
    for task in TASKS:
        rows = _of(task, table)
        if rows.num_rows < window.fewest:
            rows = read(url, earliest, now, champion.version, window.fewest, task, "newest")
        if first is not None and (known := _of(task, first)).num_rows:
            rows = rows.filter(pc.greater(rows["time"], pc.max(known["time"])))
        parts.append(rows)
    return pa.concat_tables(parts)


def baseline(url: str, champion: Champion, now: datetime, policy: DriftPolicy) -> pa.Table | None:
    """The champion's first traffic: that of its first days, and of a task of which these have too little, its first answers.

    None while it is still gathered.
    """
    learned, fewest = champion.since + timedelta(days=policy.baseline_days), policy.window.fewest
    if now < learned:
        return None
    table = read(url, champion.since, learned, champion.version, policy.window.most)
    parts = [_of("", table)]
    for task in TASKS:
        rows = _of(task, table)
        if rows.num_rows < fewest:
            rows = read(url, champion.since, now, champion.version, fewest, task, "oldest")
        if rows.num_rows >= fewest:
            parts.append(rows)
    return pa.concat_tables(parts) if len(parts) > 1 else None


def report(url: str, champion: Champion, reference: pa.Table, now: datetime, policy: DriftPolicy) -> DriftReport:
    """The report on the window that ends at `now`, beside the reference and the champion's first traffic.

    While that is gathered, nothing drifts and the state is `learning`: the findings tell how far traffic is from the reference.
    Clicks are those that the feedback beside the log tells of. Raises `GoodsightError` when the log cannot be read.
    """
    first = baseline(url, champion, now, policy)
    table = _clicks(url, champion, current(url, champion, now, policy, first))
    first = None if first is None else _clicks(url, champion, first)
    found = replace(compare(reference, table, policy, first), version=champion.version)
    return _learning(found, champion, policy) if first is None else found


def _clicks(url: str, champion: Champion, table: pa.Table) -> pa.Table:
    """The window with what was clicked of it, from its first answer with a click to its last: of those before and after nobody knows
    whether their clicks were sent, and a shop that begins to send clicks is no drift. As it is where no click came."""
    span = pc.min_max(table["time"]).as_py()
    ids = clicked(url, span["min"], span["max"] + timedelta(milliseconds=1), champion.version) if table.num_rows else None
    if ids is None:
        return table
    told = with_clicks(table, ids)
    sent = pc.min_max(told.filter(told["clicked"])["time"])
    within = pc.and_(pc.greater_equal(told["time"], sent["min"]), pc.less_equal(told["time"], sent["max"]))
    known = pc.if_else(within, told["clicked"], pa.scalar(None, pa.bool_()))
    return told.set_column(told.schema.get_field_index("clicked"), "clicked", known)


def _learning(found: DriftReport, champion: Champion, policy: DriftPolicy) -> DriftReport:
    findings = tuple(replace(each, drifted=False) for each in found.findings)
    fewest, days = policy.window.fewest, policy.baseline_days
    said = f"The first traffic of version {champion.version} is still gathered: {days:g} days, and {fewest:,} answers of a task."
    return replace(found, findings=findings, state="learning" if findings else "few", explanation=said)


def _of(task: str, table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["task"], task))
