"""The vectors of an index in a Milvus server: one collection an index, named by its digest, asked through `Nearest`'s own method.

Filled and checked when the index is deployed. A row has its number in the index, its vector, its price and the 64-bit keys that
filters ask for (`serving.listing`), so that the server filters by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.progress import note
from goodsight.settings import settings
from serving.listing import Allowed, Listing
from serving.nearest import BREADTHS, CONSTRUCTION, LINKS, Nearest

ROWS = 2_000  # of one insertion
CHECKED = 200  # rows that are read back
MOST_KEYS = 4_096  # of one product
SECONDS = 10.0  # for one answer


class Indexed(Protocol):
    """What is read of an index."""

    @property
    def digest(self) -> str: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def listing(self) -> Listing: ...
    @property
    def nearest(self) -> Nearest: ...


def configured() -> bool:
    return bool(settings().milvus_uri.get_secret_value())


def collection(digest: str) -> str:
    return f"goodsight_{digest}"


@contextmanager
def connected() -> Iterator[Any]:
    """A client of the configured server. Raises `BusyError` when the server does not answer."""
    client = _client()
    try:
        with _answering():
            yield client
    finally:
        client.close()


def _client() -> Any:
    from pymilvus import MilvusClient

    with _answering():
        return MilvusClient(settings().milvus_uri.get_secret_value(), token=settings().milvus_token.get_secret_value(), timeout=SECONDS)


@contextmanager
def _answering() -> Iterator[None]:
    from pymilvus import MilvusException

    try:
        yield
    except MilvusException as error:
        raise BusyError(f"Milvus did not answer: {error.message}", "Is the server of GOODSIGHT_MILVUS_URI up?") from error


def fill(index: Indexed) -> None:
    """Brings all of `index` to the server, unless it is there. Raises `IntegrityError` when what is read back is something else."""
    name = collection(index.digest)
    with connected() as client:
        if client.has_collection(name) and _count(client, name) == index.record["count"]:
            return
        client.drop_collection(name)
        _create(client, name, index)
        note(f"{index.record['count']:,} vectors go to Milvus")
        rows, keys, prices = np.flatnonzero(index.listing.allowed().mask), _keys(index), index.listing.products["price"].to_numpy()
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            client.insert(name, [_row(*each, keys, prices) for each in zip(part.tolist(), index.nearest.vectors(part), strict=True)])
        client.flush(name)
        _check(client, name, index, rows)


def _row(row: int, vector: np.ndarray, keys: list[list[int]], prices: np.ndarray) -> dict[str, Any]:
    price = float(prices[row])
    return {"row": row, "vector": vector.tolist(), "price": price if np.isfinite(price) else None, "keys": keys[row]}


def _keys(index: Indexed) -> list[list[int]]:
    """The keys of each row, as the signed integers that Milvus has."""
    found: list[list[int]] = [[] for _ in range(index.listing.count)]
    keys, starts, rows = (index.listing.arrays[name] for name in ("keys", "starts", "rows"))
    for place, key in enumerate(keys.astype(np.int64).tolist()):
        for row in rows[starts[place] : starts[place + 1]].tolist():
            found[row].append(key)
    if (most := max(map(len, found))) > MOST_KEYS:
        raise InputError(f"A product has {most:,} categories and attributes; Milvus takes {MOST_KEYS:,}.", "Unset GOODSIGHT_MILVUS_URI.")
    return found


def _create(client: Any, name: str, index: Indexed) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=index.record["dimension"])
    schema.add_field("price", DataType.DOUBLE, nullable=True)
    schema.add_field("keys", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_KEYS)
    graph = {"index_type": "HNSW", "params": {"M": LINKS, "efConstruction": CONSTRUCTION}}
    kind: dict[str, Any] = {"index_type": "FLAT"} if index.record["kind"] == "flat" else graph
    parameters = client.prepare_index_params()
    parameters.add_index("vector", metric_type="IP", **kind)
    client.create_collection(name, schema=schema, index_params=parameters, consistency_level="Strong")


def _count(client: Any, name: str) -> int:
    client.load_collection(name)
    return int(client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])


def _check(client: Any, name: str, index: Indexed, rows: np.ndarray) -> None:
    if (count := _count(client, name)) != len(rows):
        raise IntegrityError(f"Milvus has {count:,} of {len(rows):,} vectors of the index.", "Deploy it again.")
    asked = rows[np.linspace(0, len(rows) - 1, min(CHECKED, len(rows)), dtype=np.int64)]
    for told in client.query(name, filter=f"row in {asked.tolist()}", output_fields=["row", "vector"]):
        if not np.array_equal(np.asarray(told["vector"], np.float32), index.nearest.vectors(np.array([told["row"]]))[0]):
            raise IntegrityError(f"Milvus has another vector of row {told['row']} of the index.", "Deploy it again.")


def forget(digest: str) -> None:
    """Drops the collection of an index that is served no more."""
    with connected() as client:
        client.drop_collection(collection(digest))


@dataclass(frozen=True)
class Milvus:
    """The collection of one index, for searching."""

    client: Any
    name: str
    breadth: int | None

    @staticmethod
    def open(index: Indexed) -> Milvus:
        """Raises `IntegrityError` when the collection is not there or not whole."""
        client, name = _client(), collection(index.digest)
        with _answering():
            if not client.has_collection(name) or _count(client, name) != index.record["count"]:
                raise IntegrityError(f"Milvus does not have the index {index.digest[:12]}.", "Deploy the version again.")
        return Milvus(client, name, None if index.record["kind"] == "flat" else index.nearest.breadth or BREADTHS[-1])

    def search(self, query: np.ndarray, k: int, allowed: Allowed) -> tuple[np.ndarray, np.ndarray]:
        """As `Nearest.search`."""
        if not (k := min(k, allowed.count)):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        parameters = {"ef": max(self.breadth, k)} if self.breadth is not None else {}
        with _answering():
            (found,) = self.client.search(
                self.name,
                data=[query.astype(np.float32).tolist()],
                limit=k,
                filter=_expression(allowed),
                search_params={"metric_type": "IP", "params": parameters},
            )
        return np.array([hit["row"] for hit in found], np.int64), np.array([hit["distance"] for hit in found], np.float32)


def _expression(allowed: Allowed) -> str:
    """The filter in Milvus's words."""
    conditions = [f"array_contains_any(keys, {[_signed(key) for key in keys]})" for keys in allowed.keys]
    prices = allowed.filters.price
    if prices.min is not None:
        conditions.append(f"price >= {prices.min!r}")
    if prices.max is not None:
        conditions.append(f"price <= {prices.max!r}")
    if allowed.without:
        conditions.append(f"row not in {list(allowed.without)}")
    return " and ".join(conditions)


def _signed(key: int) -> int:
    return key - 2**64 if key >= 2**63 else key
