"""The decision on the data of a snapshot, with its evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class DataVerdict:
    """The decision on the data with its evidence. Counts add up: in = kept + quarantined (+ dropped, for queries)."""

    decision: str  # passed or failed
    reason: str
    products_in: int
    kept: int
    quarantined: int
    by_reason: dict[str, int]
    queries_in: int
    queries_kept: int
    queries_quarantined: int
    queries_dropped: int
    queries_by_reason: dict[str, int]
    events_in: int
    events_kept: int
    events_quarantined: int
    events_by_reason: dict[str, int]
    warnings: list[dict[str, Any]]
    coverage: dict[str, float]  # modality -> share of the kept products that have it
    categories: dict[str, int]  # of the kept products
    expectations: dict[str, int]  # total, failed
    raw_digest: str
    digest: str
    compared: dict[str, Any] | None = None  # with the snapshot before (`comparison.compare`)

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        return asdict(self)
