"""Erasure: a product is taken out of a catalogue for good.

What was erased is kept in the data repository as the sha256 of catalogue name and id, a file each, so that no import brings the
product back and nobody reads its id there. Versions that hold its bytes stay until `catalogue gc` removes them; they are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalogue.data_repo import git, root_of
from catalogue.shards import copy_rows
from catalogue.snapshot import TABLES, Snapshot, write_manifest
from goodsight.digests import sha256_bytes
from goodsight.files import exclusive, whole_folder, write_bytes

ERASED = "erased"  # folder in the data repository


def mark(name: str, identity: str) -> str:
    """What is kept of an erased product."""
    return sha256_bytes(f"{name}\0{identity}".encode())


def erased(name: str, home: Path) -> Callable[[str], bool]:
    """Whether a product of the catalogue `name` was erased, by its id."""
    marks = {path.name for path in (root_of(home) / ERASED).glob("*")}
    return lambda identity: bool(marks) and mark(name, identity) in marks


def remember(name: str, identity: str, home: Path) -> None:
    """Keeps the mark of an erased product."""
    root = root_of(home)
    with exclusive(root.with_name("data.lock"), "storing a version of the data"):
        write_bytes(root / ERASED / mark(name, identity), b"")
        git(root, "add", ERASED)
        git(root, "commit", "--quiet", "--allow-empty", "--message", f"a product of {name} is erased")


def without(snapshot: Snapshot, identity: str, out: Path) -> dict[str, Any]:
    """Writes the snapshot without the product, its releases, and its unreadable lines to `out`; returns the manifest.

    Queries keep its id among their relevant ones until validation takes it out: an id alone says nothing.
    """
    with whole_folder(out) as aside:
        for table in TABLES:
            copy_rows(snapshot, aside, table, set(_places(snapshot, table, identity)))
        return write_manifest(aside, snapshot.manifest["categories"], snapshot.manifest["source"], parent=snapshot.digest)


def _places(snapshot: Snapshot, table: str, identity: str) -> Iterator[int]:
    """Row numbers of what a table says of a product."""
    if table == "queries":
        return
    column = {"events": "product", "unreadable": "text"}.get(table, "id")
    for place, value in enumerate(snapshot.read(table, [column])[column].to_pylist()):
        if value == identity if column != "text" else f'"{identity}"' in value:
            yield place
