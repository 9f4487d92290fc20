"""Events that come between two versions of a catalogue: a file of them, judged by the rules for the events of a catalogue."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from catalogue.checks import event_checks
from catalogue.layouts.tables import table
from catalogue.quarantine import quarantined_rows, unreadable_rows
from catalogue.records import Row, event_row, unreadable_row
from catalogue.snapshot import TABLES, ShardWriter, Snapshot, write_manifest
from catalogue.suites import Judge
from goodsight.errors import InputError


def read_events(path: Path) -> tuple[pa.Table, list[Row]]:
    """The good events (EVENT_SCHEMA) of a .jsonl, .csv or .parquet file, and the other lines as rows of QUARANTINE_SCHEMA.

    Raises `InputError` for a file of another kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        snapshot = _snapshot(path, Path(folder) / "snapshot")
        events = snapshot.read("events")
        if not len(events):
            return events, list(unreadable_rows(snapshot))
        facts = event_checks(snapshot, set(events["product"].to_pylist()))
        faults = Judge(Path(folder) / "report", path.name).judge("events", facts).faults
        good = events.take([row for row in range(len(events)) if row not in faults])
        return good, [*quarantined_rows(snapshot, "events", faults), *unreadable_rows(snapshot)]


def _snapshot(path: Path, out: Path) -> Snapshot:
    """A snapshot of nothing but these events."""
    told = table(path, "event")
    with ExitStack() as stack:
        writers = {name: stack.enter_context(ShardWriter(out, name)) for name in TABLES}
        for line in told.lines:
            try:
                writers["events"].add(event_row(line.whole(), line.number, told.name))
            except InputError as error:
                writers["unreadable"].add(unreadable_row("event", told.name, line.number, line.start(), error.message))
    write_manifest(out, None, path.name, None)
    return Snapshot.open(out)
