"""Bulk prediction in three steps, so that a cluster makes the parts side by side: which parts, one part, all of them joined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.bulk import Work


def parts(snapshot: Path, rows: int) -> list[str]:
    """The parts of the snapshot's products with so many rows each, as "first row:rows"."""
    from catalogue.snapshot import Snapshot
    from serving.bulk import parts_of

    return [f"{start}:{count}" for start, count in parts_of(Snapshot.open(snapshot), rows)]


def predict(snapshot: Path, task: str, version: str, k: int, part: str, answers: Path) -> None:
    """Writes the answers of the registered `version` for one part to `answers`."""
    import torch

    from catalogue.snapshot import Snapshot
    from goodsight.settings import settings
    from lineage.registry import candidate_folder
    from serving.bulk import load_bundle, predict_part

    torch.set_num_threads(settings().threads)
    opened, candidate = Snapshot.open(snapshot), candidate_folder(version)
    start, count = map(int, part.split(":"))
    work = _work(task, version, candidate, opened, k)
    predict_part(load_bundle(candidate, work.task), work, opened, (start, count), answers)


def _work(task: str, version: str, candidate: Path, snapshot: Any, k: int) -> Work:
    from goodsight.errors import InputError
    from serving.bulk import BUNDLES, work_of

    if task not in BUNDLES:
        raise InputError(f"{task!r} is no task of bulk prediction.", f"Give one of {', '.join(BUNDLES)}.")
    return work_of(task, version, candidate, snapshot, k)  # type: ignore[arg-type]


def merge(parts: list[Path], revision: str, answers: Path) -> int:
    """Joins the parts to `answers`, tells the ledger, and returns the number of products."""
    from lineage import record
    from serving.bulk import merge as join
    from serving.bulk import told

    count = join(parts, answers)
    record.bulk(told(answers), revision, answers, count, record.PIPELINE)
    return count
