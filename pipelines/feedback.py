"""Feedback becomes part of the next version of a catalogue: clicks and purchases as events, right categories as changed products.

The changes are written as a catalogue folder and go in by the incremental import, so that they are judged as all data are. What is in
the newest version already is not brought again: whoever is stopped in the middle, or imports twice, starts anew. A record under
`<home>/feedback` says of each event and label which pieces of feedback and which answers it is from; the ledger has its digest.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from catalogue.data_repo import name_of
from catalogue.erasure import erased
from catalogue.importer import Before
from catalogue.records import PRODUCT_FIELDS, Row
from catalogue.snapshot import Snapshot
from catalogue.update import import_update
from catalogue.versions import describe, opened, store
from goodsight.digests import sha256_file
from goodsight.errors import InputError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import history, record
from lineage.feedback import stream
from lineage.ledger import Ledger
from pipelines.feedback_plan import SEPARATOR, Label, Plan, Rules, check_size, plan

FOLDER = "feedback"


@dataclass(frozen=True)
class Imported:
    """The version that has the feedback now (the one before it when nothing was new), its plan, and the record's file."""

    revision: str
    made: Plan
    record: Path | None


def planned(name: str, home: Path, rules: Rules = Rules(), accepted: Collection[str] = ()) -> tuple[Plan, str]:
    """What an import would bring to the newest version of a catalogue (without `name` the champion's) now, and that version.

    Raises `InputError` when there is none.
    """
    with opened(_catalogue(name, home), home) as (snapshot, revision):
        return plan(_pieces(rules), snapshot, rules, accepted), revision


def import_feedback(
    name: str, home: Path, by: str, rules: Rules = Rules(), accepted: Collection[str] = (), reason: str = ""
) -> Imported:
    """Brings all feedback that counts into the next version of a catalogue (without `name` the champion's), trained on like any other.

    Raises `InputError` when there is no such catalogue, when `accepted` names a product that nothing is to be decided of, or without a
    reason for it; `RefusedError` when too much would change; `BusyError` when another import made a newer version meanwhile.
    """
    if accepted and not reason.strip():
        raise InputError("Who accepts a label says why.", "Give --reason.")
    name = _catalogue(name, home)
    with opened(name, home) as (snapshot, revision):
        told = _tell(revision, home)  # where the import that made it was killed before it did
        made = plan(_pieces(rules), snapshot, rules, accepted)
        _check_accepted(made, accepted)
        check_size(made, snapshot.manifest["counts"]["products"], rules)
        if not made.events and not made.changes:
            return Imported(revision, made, told)
        with tempfile.TemporaryDirectory(dir=home, prefix=".feedback-") as folder:
            _write_changes(made, snapshot, Path(folder) / "changes")
            before = Before(snapshot.digest, erased=erased(name, home))
            manifest = import_update(Path(folder) / "changes", snapshot.folder, Path(folder) / "snapshot", before=before)
            write_json(_record(manifest, home), _provenance(made, manifest, by, reason))
            revision = store(Path(folder) / "snapshot", home, name, revision)
    return Imported(revision, made, _tell(revision, home))


def _pieces(rules: Rules) -> Iterator[Row]:
    """The feedback that still counts. Days are whole, so that what was over the bounds of a day is over them at every import."""
    begin = datetime.now(UTC).date() - timedelta(days=rules.days)
    return stream(settings().predictions_url, datetime.combine(begin, time.min, UTC))


def _catalogue(name: str, home: Path) -> str:
    """`name`, or without one the catalogue that the champion learned from.

    Raises `InputError` when there is no champion, or no catalogue is called so: a version that is not the newest cannot be gone on from.
    """
    if not name:
        moves = history.of_kind(settings().ledger_url, "alias_move").events
        name = name_of(history.learned_from(settings().ledger_url, moves[-1].subjects[0])) if moves else ""
        if not name:
            raise InputError("No model serves yet, so no catalogue is the champion's.", "Name one: goodsight feedback import NAME")
    version = describe(name, home)
    if version["name"] != name:
        raise InputError(f"{name!r} is no catalogue, but a version of {version['name']}.", f"Name the catalogue: {version['name']}")
    return name


def _check_accepted(made: Plan, accepted: Collection[str]) -> None:
    known = {label.product: label for label in made.labels}
    for product in sorted(accepted):
        if product not in known:
            raise InputError(f"No category of {product!r} waits for anyone.", "See what does: goodsight feedback show NAME")
        if known[product].state == "refused":
            raise InputError(f"The category of {product!r} cannot be taken: {known[product].why}.", "Change the catalogue itself.")


def _record(version: dict[str, Any], home: Path) -> Path:
    return home / FOLDER / f"{version['digest'][:12]}.json"


def _provenance(made: Plan, manifest: dict[str, Any], by: str, reason: str) -> dict[str, Any]:
    """What says where each event (by its line of events.jsonl) and each label is from."""
    events = [{"line": line, **{name: event[name] for name in ("feedback", "prediction")}} for line, event in enumerate(made.events, 1)]
    version = {"digest": manifest["digest"], "parent": manifest["parent"], "by": by, "reason": reason}
    return {**version, "events": events, "labels": [vars(label) for label in made.changes]}


def _tell(revision: str, home: Path) -> Path | None:
    """The ledger is told of the version, if feedback made it and it was not told before; returns the record of what it brought."""
    version = describe(revision, home)
    path = _record(version, home)
    if not path.is_file():
        return None
    told = [event for event in Ledger(settings().ledger_url).events("snapshot") if event.payload["name"] == version["name"]]
    if any(event.payload["revision"] == revision for event in told):
        return None
    kept = read_json(path)
    made = {"record": path.name, "sha256": sha256_file(path), **{name: len(kept[name]) for name in ("events", "labels")}}
    record.snapshot(version, "feedback", kept["by"], kept["reason"], feedback=made)
    return path


def _write_changes(made: Plan, snapshot: Snapshot, folder: Path) -> None:
    """The plan as a catalogue folder: products as they are, but for the category, and events."""
    folder.mkdir()
    labels = {label.product: label for label in made.changes}
    ids = snapshot.products(["id"])["id"].to_pylist()
    rows = snapshot.take("products", [place for place, id in enumerate(ids) if id in labels], PRODUCT_FIELDS)
    _write_lines(folder / "products.jsonl", [_product(row, labels[row["id"]], folder / "media" / str(at)) for at, row in enumerate(rows)])
    _write_lines(folder / "events.jsonl", made.events)


def _write_lines(path: Path, records: list[Row]) -> None:
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records), encoding="utf-8")


def _product(row: Row, label: Label, folder: Path) -> Row:
    """A row of a snapshot as the record that it is from, its media in `folder`, with another category."""
    folder.mkdir(parents=True)
    media = {"images": row["images"], **{name: [row[name]] for name in ("video", "audio") if row[name] is not None}}
    files = {name: [_file(folder / f"{name}-{at}", data) for at, data in enumerate(parts or [])] for name, parts in media.items()}
    objects = {name: json.loads(row[name]) for name in ("title_i18n", "attributes")}
    texts = {name: row[name] for name in ("id", "source", "title", "description", "price", "group", "split", "licence")}
    return texts | objects | files | {"category_path": label.category.split(SEPARATOR), "updated": label.last}


def _file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return path.relative_to(path.parents[2]).as_posix()
