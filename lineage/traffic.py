"""Traffic: what is known of answered requests without knowing what was asked, one row each.

The columns after `latency_ms` are traits: figures of the request and of what the model made of it, null where they do not apply. The
prediction log keeps them as JSON beside each answer (`lineage.predictions`); `read` gives a stretch of the log as a table of `SCHEMA`.
The reference of a version is a table of the same schema: what it answers on its own training and validation data.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from lineage.answered import FINDS_PRODUCTS
from lineage.database import rows

SKETCH = 32  # numbers of a sketch
MOST = 50_000  # rows that are read at most
Which = Literal["spread", "newest", "oldest"]
TRAITS: dict[str, pa.DataType] = {
    "text_chars": pa.int32(),
    "text_words": pa.int32(),
    "language": pa.string(),  # ISO 639-1, or und where that is not sure
    "oov": pa.float32(),  # share of the words that no product of the index has
    "width": pa.int32(),
    "height": pa.int32(),
    "brightness": pa.float32(),  # mean, 0 to 1
    "contrast": pa.float32(),  # standard deviation of brightness
    "saturation": pa.float32(),  # mean, 0 to 1
    "sharpness": pa.float32(),  # mean step from a pixel to its neighbours
    "fields": pa.int32(),  # of a table of attributes
    "category": pa.string(),  # of the best answer
    "sketch": pa.list_(pa.float32(), SKETCH),  # fixed random projection of the embedding; of categories, of the roots of their chances
}
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("input", pa.string()),  # sha256 of the request: equal requests are known by it
        ("time", pa.timestamp("ms", tz="UTC")),
        ("task", pa.string()),
        ("modalities", pa.string()),  # joined by commas
        ("model_version", pa.string()),
        ("status", pa.string()),  # ok or refused
        ("top", pa.string()),  # the best product or category
        ("score", pa.float64()),
        ("second", pa.float64()),
        ("results", pa.int32()),  # how many; null where results are no list
        ("latency_ms", pa.float64()),
        *TRAITS.items(),
        ("clicked", pa.bool_()),  # null where nobody could tell
    ]
)


def table(found: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table of `SCHEMA`; what a row lacks is null."""
    return pa.Table.from_pylist(list(found), schema=SCHEMA)


def read(
    url: str, since: datetime, until: datetime, version: str = "", most: int = MOST, task: str = "", first: Which = "spread"
) -> pa.Table:
    """The answers from `since` to before `until` in order of time; those of one `version` and `task`, where these are given.

    Where there are more than `most`, the newest or the oldest of them, or every n-th, so that they are spread over the time.
    Nothing where there is no log. Raises `GoodsightError` when the database cannot be read.
    """
    bound = {"since": _text(since), "until": _text(until), "most": most}
    bound |= {name: value for name, value in (("version", version), ("task", task)) if value}
    named = {"model_version": "version", "task": "task"}
    wanted = " AND ".join(["time >= :since AND time < :until", *(f"{at} = :{name}" for at, name in named.items() if name in bound)])
    found = f"FROM predictions JOIN served ON served.key = predictions.served WHERE {wanted}"
    if first == "spread":
        counted = rows(url, f"SELECT COUNT(*) AS count {found}", **bound) or [{"count": 0}]
        found += f" AND predictions.number % {max(1, -(-counted[0]['count'] // most))} = 0"
    order = "ASC" if first == "oldest" else "DESC"
    told = rows(url, f"SELECT predictions.*, served.model_version {found} ORDER BY time {order} LIMIT :most", **bound)
    return table(_row(each) for each in (told if first == "oldest" else reversed(told)))


def with_clicks(traffic: pa.Table, clicked: Collection[str]) -> pa.Table:
    """`traffic` in which every answer with products says whether its id is one of `clicked`."""
    known = zip(traffic["id"].to_pylist(), traffic["task"].to_pylist(), traffic["status"].to_pylist(), strict=True)
    told = [id in clicked if task in FINDS_PRODUCTS and status == "ok" else None for id, task, status in known]
    return traffic.set_column(traffic.schema.get_field_index("clicked"), "clicked", pa.array(told, pa.bool_()))


def answer_figures(task: str, results: list[tuple[str, float]]) -> dict[str, Any]:
    """The columns that tell of the results of an answer, best first."""
    if task not in (*FINDS_PRODUCTS, "categorize"):
        return {}
    scores = [score for _, score in results]
    top, second = results[0][0] if results else None, scores[1] if len(scores) > 1 else None
    return {"top": top, "score": scores[0] if scores else None, "second": second, "results": len(results)}


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in ("id", "input", "task", "modalities", "model_version", "status", "latency_ms")}
    traits = json.loads(row.get("traits") or "{}")
    known = {name: value for name, value in traits.items() if name in TRAITS}
    figures = answer_figures(row["task"], json.loads(row["results"])) if row["status"] == "ok" else {}
    return {**told, "time": datetime.fromisoformat(row["time"]), **figures, **known}
