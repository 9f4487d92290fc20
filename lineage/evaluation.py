"""An evaluation folder as the gate reads it: figures, values by item with their clusters and slices, embeddings of some products."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from goodsight.digests import sha256_folder
from goodsight.errors import InputError
from goodsight.files import read_json

AGAIN = "Evaluate the candidate again."


@dataclass(frozen=True)
class Items:
    """The items of one metric, sorted by id: a value and a cluster each, and by slice which of them are in it."""

    ids: np.ndarray
    values: np.ndarray
    clusters: np.ndarray
    slices: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one candidate. `bundles` are digests by task; `vectors` embeddings by product id."""

    candidate: str
    snapshot: str
    metrics: dict[str, float]
    baselines: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    items: dict[str, Items] = field(default_factory=dict, repr=False)
    bundles: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    digest: str = ""

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Raises `InputError` when the folder is not an evaluation."""
        figures = read_json(folder / "metrics.json")
        try:
            candidate, snapshot, bundles = figures["candidate"], figures["snapshot"], dict(figures["bundles"])
            metrics, baselines, costs = (_finite(figures[kind]) for kind in ("metrics", "baselines", "costs"))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{folder} is no evaluation: {error!r}", AGAIN) from error
        items, vectors = _items(folder / "items.parquet"), _vectors(folder / "vectors.parquet")
        return cls(candidate, snapshot, metrics, baselines, costs, items, bundles, vectors, sha256_folder(folder))

    def summary(self) -> dict[str, str]:
        return {"digest": self.candidate, "snapshot": self.snapshot, "evaluation": self.digest}


def _finite(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that are numbers; a NaN was not measured."""
    return {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns).select(columns)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as Parquet with {', '.join(columns)}: {error}", AGAIN) from error


def _items(path: Path) -> dict[str, Items]:
    table = _read(path, ["metric", "item", "value", "cluster", "slices"])
    names = sorted(table["metric"].unique().to_pylist())
    return {name: _metric_items(path, name, table.filter(pc.field("metric") == name)) for name in names}


def _metric_items(path: Path, metric: str, table: pa.Table) -> Items:
    ids, order = np.unique(np.asarray(table["item"].to_pylist(), dtype=str), return_index=True)
    values = table["value"].to_numpy()
    if len(ids) != len(values) or not np.isfinite(values).all():
        raise InputError(f"{path} has items of {metric} twice or without value.", AGAIN)
    clusters = np.asarray(table["cluster"].to_pylist(), dtype=str)
    slices = [set(names or ()) for names in table["slices"].to_pylist()]
    members = {name: np.array([name in slices[place] for place in order]) for name in sorted(set().union(*slices))}
    return Items(ids, values[order], clusters[order], members)


def _vectors(path: Path) -> dict[str, np.ndarray]:
    table = _read(path, ["item", "vector"])
    return {item: np.asarray(vector) for item, vector in zip(table["item"].to_pylist(), table["vector"].to_pylist(), strict=True)}
