"""Training-serving skew: what serving read of products against what training would see of the same products at the same times."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_repo.store import historical, open_store

CLOSE = 1e-9  # relative: what two ways of adding the same numbers may differ by


@dataclass(frozen=True)
class FeatureSkew:
    """Of one feature: values compared, those that differ, the largest difference of numbers, and the first product that differs."""

    feature: str
    compared: int
    differing: int
    largest: float
    example: str


def product_skew(store: Path, served: pa.Table) -> list[FeatureSkew]:
    """`served`: product_id, event_timestamp (when it was read) and the features of `ranking_products` that serving saw.

    A feature that `served` lacks is not compared. Worst first.
    """
    with open_store(store) as feast:
        asked = served.select(["product_id", "event_timestamp"])
        trained = historical(feast, "ranking_products", asked.append_column("place", pa.array(range(len(asked)))))
    trained = trained.sort_by("place")
    features = [name for name in trained.column_names if name in served.column_names and name not in ("product_id", "event_timestamp")]
    ids = served["product_id"].to_pylist()
    found = [_compared(name, ids, served[name].to_pylist(), trained[name].to_pylist()) for name in features]
    return sorted(found, key=lambda each: (-each.differing, each.feature))


def _compared(feature: str, ids: list[str], served: list[Any], trained: list[Any]) -> FeatureSkew:
    apart = [(id, _difference(one, other)) for id, one, other in zip(ids, served, trained, strict=True)]
    differing = [(id, value) for id, value in apart if value > 0]
    numbers = [value for _, value in differing if value != float("inf")]
    return FeatureSkew(feature, len(ids), len(differing), max(numbers, default=0.0), differing[0][0] if differing else "")


def _difference(one: Any, other: Any) -> float:
    """0 for equal values, infinity where one is missing or they are no numbers."""
    one, other = (None if isinstance(value, float) and isnan(value) else value for value in (one, other))
    if one == other:
        return 0.0
    if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
        return float("inf")
    apart = abs(one - other)
    return apart if apart > CLOSE * max(abs(one), abs(other)) else 0.0
