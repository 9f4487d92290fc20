"""Small evaluations whose verdict is known, written as the step `evaluate` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lineage.policy import Policy

SETTINGS = {"confidence": 0.95, "power": 0.8, "resamples": 2000, "seed": 0, "min_items_in_common": 30}
Values = Mapping[str, float]  # item -> value


def policy(*, slices: list[dict[str, Any]] | None = None, ceilings: dict[str, Any] | None = None, **metrics: dict[str, Any]) -> Policy:
    more = {"slices": slices or [], "ceilings": ceilings or {}}
    return Policy.model_validate({**SETTINGS, **more, "metrics": metrics})


def evaluation(
    folder: Path,
    items: Mapping[str, Values],
    snapshot: str = "s" * 64,
    clusters: Mapping[str, str] | None = None,
    slices: Mapping[str, list[str]] | None = None,
    vectors: Mapping[str, list[float]] | None = None,
    bundles: Mapping[str, str] | None = None,
    **figures: dict[str, float],
) -> Path:
    """An evaluation folder whose metrics are the means of `items` (metric -> item -> value), and `figures`."""
    folder.mkdir(parents=True)
    means = {metric: float(np.mean(list(values.values()))) for metric, values in items.items()}
    written = {
        "metrics": means | figures.get("metrics", {}),
        "baselines": figures.get("baselines", {}),
        "costs": figures.get("costs", {}),
        "snapshot": snapshot,
        "candidate": folder.name * 8,
        "bundles": dict(bundles or {}),
    }
    (folder / "metrics.json").write_text(json.dumps(written))
    clusters, slices = clusters or {}, slices or {}
    rows = [
        {"metric": metric, "item": item, "value": value, "cluster": clusters.get(item, item), "slices": slices.get(item, [])}
        for metric, values in items.items()
        for item, value in values.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")
    kept = {"item": list(vectors or {}), "vector": list((vectors or {}).values())}
    schema = pa.schema([("item", pa.string()), ("vector", pa.list_(pa.float32()))])
    pq.write_table(pa.table(kept, schema=schema), folder / "vectors.parquet")
    return folder


def hits(right: int, wrong: int, start: int = 0) -> dict[str, float]:
    return {f"item {start + place}": float(place < right) for place in range(right + wrong)}


def only(verdict: dict[str, Any], name: str, part: str = "all") -> dict[str, Any]:
    (found,) = [check for check in verdict["checks"] if check["name"] == name and check["slice"] == part]
    return found
