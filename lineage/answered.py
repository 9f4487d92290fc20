"""What the prediction log says: one answer, those that showed a product, those of a version, and how many are missing.

Read without SQLAlchemy (`lineage.database.rows`), so that the command answers at once.
"""

from __future__ import annotations

import json
from typing import Any

from lineage.database import rows

NEWEST = 20  # predictions that are listed; the others are counted
COLUMNS = (
    "id, time, task, modalities, model_version, candidate, index_digest, features, input, k, results, latency_ms, status"
    " FROM predictions JOIN served ON served.key = predictions.served"
)

FINDS_PRODUCTS = ("search", "recommend", "similar")  # tasks whose results are products


def prediction(url: str, wanted: str) -> dict[str, Any] | None:
    """The answer with this id, its results as a list of [id or category, score]; None when the log has none."""
    found = rows(url, f"SELECT {COLUMNS} WHERE id = :id", id=wanted.lower())
    return _told(found[0]) if found else None


def _told(row: dict[str, Any]) -> dict[str, Any]:
    index, modalities = row.pop("index_digest"), row["modalities"].split(",") if row["modalities"] else []
    return {**row, "modalities": modalities, "results": json.loads(row["results"]), "index": index}


def showing(url: str, product: str, newest: int = NEWEST) -> dict[str, Any]:
    """How many answers showed a product, and the newest of them."""
    key = "SELECT key FROM products WHERE product = :product"
    count = rows(url, f"SELECT COUNT(*) AS count FROM shown WHERE product = ({key})", product=product)
    listed = rows(
        url,
        "SELECT id, time, model_version FROM shown JOIN predictions ON number = prediction"
        " JOIN served ON served.key = predictions.served"
        f" WHERE product = ({key}) ORDER BY prediction DESC LIMIT :newest",
        product=product,
        newest=newest,
    )
    return {"count": count[0]["count"] if count else 0, "newest": listed}


def by_version(url: str) -> list[dict[str, Any]]:
    """Every version that answered, the first to answer first: its digests, how many answers, the first time and the last."""
    return rows(
        url,
        "SELECT model_version, candidate, index_digest, features, count, early.time AS first, late.time AS last FROM"
        " (SELECT served, COUNT(*) AS count, MIN(number) AS low, MAX(number) AS high FROM predictions GROUP BY served) AS spans"
        " JOIN served ON served.key = spans.served JOIN predictions AS early ON early.number = low"
        " JOIN predictions AS late ON late.number = high ORDER BY low",
    )


def gaps(url: str) -> list[dict[str, Any]]:
    """Predictions that were answered and could not be logged: how many, since when, until when."""
    return rows(url, "SELECT count, since, until FROM gaps ORDER BY since")
