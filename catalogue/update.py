"""Incremental import: a version of a catalogue and the changes since then make the next version.

Changes come as a catalogue of their own: a record takes the place of the one with its id, or is new; a record with
`"deleted": true` takes it out, and leaves a tombstone. Shards in which nothing changes are taken over as they are, so that a
version costs the storage of its changes.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalogue.diff import stays
from catalogue.importer import NOTHING, Before, import_catalogue
from catalogue.layouts.mapping import ColumnMapping
from catalogue.records import TABLE_OF, Row, unreadable_row
from catalogue.shards import copy_rows, link_shards
from catalogue.snapshot import TABLES, ShardWriter, Snapshot, write_manifest
from goodsight.files import whole_folder

CHANGING = {kind: TABLE_OF[kind] for kind in ("product", "query")}  # kinds whose rows have an id


def import_update(
    path: Path, parent: Path, out: Path, layout: str = "", mapping: ColumnMapping | None = None, before: Before = NOTHING
) -> dict[str, Any]:
    """Writes the snapshot `parent` with the changes at `path` to `out`, and returns its manifest.

    The same parent and changes give the same digest. Raises `InputError` like `import_catalogue`.
    """
    old = Snapshot.open(parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".changes-") as folder:
        rows = old.products(["id", "split"]).to_pylist()
        before = replace(before, splits={row["id"]: row["split"] for row in reversed(rows)})
        import_catalogue(path, Path(folder) / "changes", layout, mapping, before)
        new = Snapshot.open(Path(folder) / "changes")
        with whole_folder(out) as aside:
            _merge(old, new, aside)
            categories = new.manifest["categories"] or old.manifest["categories"]
            return write_manifest(aside, categories, old.manifest["source"], parent=old.digest)


def _merge(old: Snapshot, new: Snapshot, out: Path) -> None:
    stones, refused = _tombstones(old, new)
    for kind, table in CHANGING.items():
        gone = _ids(new, table) | {stone["id"] for stone in stones if stone["kind"] == kind}
        copy_rows(old, out, table, {place for place, identity in enumerate(_column(old, table)) if identity in gone})
    copy_rows(old, out, "events", set())
    _copy_releases(old, new, out, {(stone["kind"], stone["id"]) for stone in stones})
    for table in (*CHANGING.values(), "events"):
        link_shards(new, out, table)
    for table, rows in (("tombstones", stones), ("unreadable", [*new.read("unreadable").to_pylist(), *refused])):
        with ShardWriter(out, table) as writer:
            for row in rows:
                writer.add(row)


def _copy_releases(old: Snapshot, new: Snapshot, out: Path, gone: set[tuple[str, str]]) -> None:
    """Of the releases those whose row is not touched."""
    gone = gone | {(kind, identity) for kind, table in CHANGING.items() for identity in _column(new, table)}
    rows = old.read("releases", ["kind", "id"]).to_pylist()
    copy_rows(old, out, "releases", {place for place, row in enumerate(rows) if (row["kind"], row["id"]) in gone})


def inherit_releases(old: Snapshot, new: Snapshot, out: Path) -> dict[str, Any]:
    """Writes `new`, a whole import, to `out` with the releases of `old` whose row is the same in both; returns the manifest."""
    rows = old.read("releases").to_pylist()
    same = {
        (kind, identity)
        for kind, table in CHANGING.items()
        for identity in stays(old, new, table, {row["id"] for row in rows if row["kind"] == kind} & _ids(new, table))
    }
    with whole_folder(out) as aside:
        for table in TABLES:
            copy_rows(new, aside, table, set())
        copy_rows(old, aside, "releases", {place for place, row in enumerate(rows) if (row["kind"], row["id"]) not in same})
        return write_manifest(aside, new.manifest["categories"], new.manifest["source"], parent=old.digest)


def _tombstones(old: Snapshot, new: Snapshot) -> tuple[list[Row], list[Row]]:
    """The tombstones of both whose product or query is not given anew, and as unreadable lines those that mean nothing."""
    known = {kind: _ids(old, table) for kind, table in CHANGING.items()}
    given = {kind: _ids(new, table) for kind, table in CHANGING.items()}
    kept = [stone for stone in old.read("tombstones").to_pylist() if stone["id"] not in given[stone["kind"]]]
    refused = []
    for stone in new.read("tombstones").to_pylist():
        kind, identity = stone["kind"], stone["id"]
        if identity in known[kind] and identity not in given[kind]:
            kept.append(stone)
            continue
        why = "and given in the same changes" if identity in given[kind] else "but the catalogue does not have it"
        reason = f"the {kind} {identity!r} is to be deleted, {why}"
        refused.append(unreadable_row(kind, stone["file"], stone["line"], identity, reason))
    return kept, refused


def _ids(snapshot: Snapshot, table: str) -> set[str]:
    return set(_column(snapshot, table))


def _column(snapshot: Snapshot, table: str) -> list[str]:
    found: list[str] = snapshot.read(table, ["id"])["id"].to_pylist()
    return found
