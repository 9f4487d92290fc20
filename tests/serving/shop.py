"""Vectors and listings that indexes of these tests are made of."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

PROVENANCE = {"candidate": "c" * 64, "bundle": "b" * 64, "snapshot": "s" * 64}


def unit(rows: int, width: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def table(rows: int) -> pa.Table:
    names = [f"p{row}" for row in range(rows)]
    return pa.table({"id": names, "title": names, "category": ["A > B"] * rows, "price": [1.5] * rows, "extra": names})


def shop(rows: int) -> pa.Table:
    """Four categories, prices 0, 1, 2, ... and one unknown, colours and sizes."""
    paths = ["Seating", "Seating > Sofa", "Seating > Sofa > Corner", "Seatings"]
    attributes = [{"Colour": ["Red", "green"] if row % 2 else "blue", "width": row % 5 / 2, "new": row % 3 == 0} for row in range(rows)]
    return pa.table(
        {
            "id": [f"p{row}" for row in range(rows)],
            "title": [f"thing {row}" for row in range(rows)],
            "category": [paths[row % 4] for row in range(rows)],
            "price": pa.array([*map(float, range(rows - 1)), None], pa.float64()),
            "attributes": [json.dumps(each) for each in attributes],
        }
    )
