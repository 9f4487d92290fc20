"""A small real snapshot and its training table, to pretrain on."""

from __future__ import annotations

from pathlib import Path

from catalogue.importer import import_catalogue
from feature_repo.store import build_features, training_table
from tests.pipelines.made import some_furniture


def learnable(folder: Path) -> tuple[Path, Path]:
    """(snapshot, table) of some furniture."""
    (folder / "catalogue").mkdir(parents=True)
    some_furniture(folder / "catalogue", 16)
    import_catalogue(folder / "catalogue", folder / "snapshot")
    build_features(folder / "snapshot", folder / "store")
    training_table(folder / "store", folder / "table")
    return folder / "snapshot", folder / "table"
