"""The validations that a home keeps, by the digest of the snapshot that was judged: verdict, quarantine and report."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalogue.quarantine import read_quarantine
from catalogue.records import Row
from catalogue.validation import validate
from catalogue.versions import opened
from goodsight.errors import InputError
from goodsight.files import read_json, whole_folder, write_json

VERDICT, QUARANTINE, REPORT = "verdict.json", "quarantine.parquet", "report"


def folder_of(digest: str, home: Path) -> Path:
    return home / "validations" / digest[:12]


def previous(parent: str | None, home: Path) -> dict[str, Any] | None:
    """The verdict on the snapshot `parent` (a digest), if this home has judged it."""
    path = folder_of(parent, home) / VERDICT if parent else None
    return read_json(path) if path and path.is_file() else None


def keep(verdict: dict[str, Any], quarantine: Path, report: Path, home: Path) -> Path:
    """Keeps what a validation gave and returns the folder."""
    folder = folder_of(verdict["raw_digest"], home)
    with whole_folder(folder) as aside:
        write_json(aside / VERDICT, verdict)
        shutil.copyfile(quarantine, aside / QUARANTINE)
        shutil.copytree(report, aside / REPORT)
    return folder


def validate_version(revision: str, home: Path) -> Path:
    """Judges a kept version (as `versions.resolve` takes it), keeps what comes of it, and returns the folder."""
    with opened(revision, home) as (snapshot, _), tempfile.TemporaryDirectory(dir=home, prefix=".validation-") as folder:
        aside = Path(folder)
        places = aside / "snapshot", aside / QUARANTINE, aside / REPORT
        verdict = validate(snapshot.folder, *places, before=previous(snapshot.manifest["parent"], home))
        return keep(verdict.to_json(), aside / QUARANTINE, aside / REPORT, home)


def quarantine_of(digest: str, home: Path) -> list[Row]:
    """The quarantined rows of a judged snapshot. Raises `InputError` when this home has not judged it."""
    path = folder_of(digest, home) / QUARANTINE
    if not path.is_file():
        raise InputError(f"Snapshot {digest[:12]} has not been validated here.", "Run `goodsight catalogue validate` on it first.")
    return read_quarantine(path)


def forget(digests: Sequence[str], home: Path) -> None:
    """Removes what this home keeps of the validations of these snapshots."""
    for digest in digests:
        shutil.rmtree(folder_of(digest, home), ignore_errors=True)
