"""A table of traffic as arrays, in the columns that are compared; cut into slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineage.answered import FINDS_PRODUCTS
from lineage.traffic import SKETCH

INPUT, PREDICTION, EMBEDDING, FEEDBACK, DATA = "input", "prediction", "embedding", "feedback", "data"
STORED = ("text_chars", "text_words", "oov", "brightness", "contrast", "saturation", "sharpness", "fields", "score")
NUMERIC: Mapping[str, str] = {
    **dict.fromkeys(("text_chars", "text_words", "oov", "pixels", "aspect"), INPUT),
    **dict.fromkeys(("brightness", "contrast", "saturation", "sharpness", "fields"), INPUT),
    **dict.fromkeys(("score", "margin"), PREDICTION),
}
CATEGORICAL: Mapping[str, str] = {"language": INPUT, "modalities": INPUT, "category": PREDICTION}
RATES: Mapping[str, str] = {"zero_results": FEEDBACK, "no_click": FEEDBACK, "refused": DATA}


@dataclass(frozen=True)
class Columns:
    """Rows of traffic: numbers (N,) with NaN for null, values as text (N,) with None for null, sketches (N, 32) with NaN."""

    numbers: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    sketch: np.ndarray
    task: np.ndarray

    def __len__(self) -> int:
        return len(self.task)

    def where(self, mask: np.ndarray) -> Columns:
        """The rows of `mask` (N,)."""
        numbers = {name: each[mask] for name, each in self.numbers.items()}
        return Columns(numbers, {name: each[mask] for name, each in self.values.items()}, self.sketch[mask], self.task[mask])


def columns(traffic: pa.Table) -> Columns:
    """The arrays of a table of `lineage.traffic.SCHEMA`. Of equal requests of one task only the last counts.

    Tests take rows for independent of each other, and who asks the same again is not.
    """
    traffic = _distinct(traffic)
    numbers = {name: _numbers(traffic[name]) for name in STORED}
    width, height = _numbers(traffic["width"]), _numbers(traffic["height"])
    finds = pc.and_(pc.is_in(traffic["task"], pa.array(FINDS_PRODUCTS)), pc.equal(traffic["status"], "ok"))
    numbers |= {
        "pixels": width * height,
        "aspect": width / np.maximum(height, 1),
        "margin": numbers["score"] - _numbers(traffic["second"]),
        "refused": _numbers(pc.not_equal(traffic["status"], "ok")),
        "zero_results": np.where(_numbers(finds) == 1, _numbers(pc.equal(traffic["results"], 0)), np.nan),
        "no_click": 1 - _numbers(traffic["clicked"]),
    }
    values = {name: _values(traffic[name]) for name in CATEGORICAL}
    return Columns(numbers, values, _sketches(traffic["sketch"]), _values(traffic["task"]))


def _distinct(traffic: pa.Table) -> pa.Table:
    asked = list(zip(traffic["task"].to_pylist(), traffic["input"].to_pylist(), strict=True))
    last = {key if key[1] is not None else place: place for place, key in enumerate(asked)}
    return traffic if len(last) == len(asked) else traffic.take(pa.array(sorted(last.values())))


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy() if column.null_count < len(column) else np.full(len(column), np.nan)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(object)


def _sketches(column: pa.ChunkedArray) -> np.ndarray:
    found = np.full((len(column), SKETCH), np.nan, np.float32)
    if len(column) > column.null_count:
        known = column.is_valid().to_numpy()
        found[known] = column.drop_null().combine_chunks().flatten().to_numpy().reshape(-1, SKETCH)
    return found
