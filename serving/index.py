"""The vector index: the products of one snapshot, embedded by one bundle, searched by inner product.

A folder: `vectors.faiss`, `products.parquet` (row n belongs to vector n) and `index.json`, whose digest covers both files
and where they come from, and `model.sig`. Loading refuses altered bytes, an unknown signer, and an index that another bundle
made: its vectors would mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from goodsight.digests import sha256_file, sha256_json
from goodsight.errors import InputError, IntegrityError, NotFoundError
from goodsight.files import read_json, whole_folder, write_json
from lineage.signing import sign, verify
from serving.filters import Filters

VECTORS, PRODUCTS, RECORD = "vectors.faiss", "products.parquet", "index.json"
COLUMNS = ("id", "title", "category", "price")
PROVENANCE = ("candidate", "bundle", "snapshot")
KIND = "flat"
REMAKE = "Make the index again from the snapshot and the bundle."


def _checked(vectors: np.ndarray, products: pa.Table) -> np.ndarray:
    if vectors.ndim != 2 or vectors.shape[0] != products.num_rows:
        raise InputError(f"Vectors of shape {vectors.shape} do not belong to {products.num_rows} products.")
    if not products.num_rows:
        raise InputError("There are no products to index.", "Index a snapshot that has products.")
    if not np.isfinite(vectors).all():
        raise InputError(f"{(~np.isfinite(vectors).all(axis=1)).sum()} of {len(vectors)} vectors are not finite.", REMAKE)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def build_index(vectors: np.ndarray, products: pa.Table, provenance: Mapping[str, str], out: Path) -> str:
    """Writes the signed index of `vectors` (N, D), L2-normalised float32, and returns its digest.

    `products` has N rows of id, title, category, price and, for filters, `attributes` (a JSON object as text);
    `provenance` the digests of `candidate`, `bundle` and `snapshot`.
    Raises `InputError` when the two do not match or a vector is not finite.
    """
    import faiss

    array = _checked(vectors, products)
    engine = faiss.IndexFlatIP(array.shape[1])
    engine.add(array)
    record: dict[str, Any] = {name: provenance[name] for name in PROVENANCE}
    record |= {"kind": KIND, "dimension": engine.d, "count": engine.ntotal}
    with whole_folder(out) as folder:
        faiss.write_index(engine, str(folder / VECTORS))
        if "attributes" not in products.column_names:
            products = products.append_column("attributes", pa.nulls(products.num_rows, pa.string()))
        pq.write_table(products.select((*COLUMNS, "attributes")), folder / PRODUCTS)
        record["files"] = {name: sha256_file(folder / name) for name in (VECTORS, PRODUCTS)}
        digest = sha256_json(record)
        write_json(folder / RECORD, {**record, "digest": digest})
        sign(folder)
    return digest


def _verified(path: Path, bundle_digest: str) -> dict[str, Any]:
    """The record of the index at `path`, once its signature, every byte and its bundle are found to be right."""
    verify(path)
    record = read_json(path / RECORD)
    try:
        content = {name: value for name, value in record.items() if name != "digest"}
        if record["digest"] != sha256_json(content):
            raise IntegrityError(f"{path / RECORD} was altered: its digest does not match.", REMAKE)
        if record["bundle"] != bundle_digest:
            found, wanted = record["bundle"][:12], bundle_digest[:12]
            raise IntegrityError(f"The index {path} was made by bundle {found}, not by bundle {wanted}.", REMAKE)
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise IntegrityError(f"The index {path} is not whole: {error!r}.", REMAKE) from error
    return record


def _has(attributes: Mapping[str, Any], filters: Filters) -> bool:
    lists = {name.casefold(): value if isinstance(value, list) else [value] for name, value in attributes.items()}
    known = {name: {_text(each) for each in values} for name, values in lists.items()}
    asked = {name.casefold(): {value.casefold() for value in values} for name, values in filters.attributes.items() if values}
    return all(known.get(name, set()) & values for name, values in asked.items())


def _text(value: Any) -> str:
    return value.casefold() if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Wanted:
    """What is asked of one search, beside its vector.

    At most `k` products, that pass `filters` and are none of `excluded` (ids). With `text`, words count too, with the weight
    `lexical` from 0 (vectors alone) to 1 (words alone); None: the one that was measured when the index was made.
    """

    k: int
    filters: Filters | None = None
    text: str | None = None
    lexical: float | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """A verified index in memory."""

    digest: str
    snapshot: str
    products: pa.Table
    engine: Any

    @staticmethod
    def load(path: Path, bundle_digest: str) -> Index:
        """The index at `path`. Raises `IntegrityError` for altered or unsigned bytes or an index of another bundle."""
        record = _verified(path, bundle_digest)
        import faiss

        engine = faiss.read_index(str(path / VECTORS))
        products = pq.read_table(path / PRODUCTS)
        if not engine.ntotal == products.num_rows == record["count"]:
            raise IntegrityError(f"The index {path} has {engine.ntotal} vectors for {products.num_rows} products.", REMAKE)
        return Index(record["digest"], record["snapshot"], products, engine)

    @property
    def ids(self) -> list[str]:
        """Of the products, in order of their vectors."""
        return self.products["id"].to_pylist()

    @cached_property
    def rows(self) -> dict[str, int]:
        """Product id -> its row."""
        return {id: row for row, id in enumerate(self.ids)}

    @property
    def vectors(self) -> np.ndarray:
        """(N, D), float32."""
        return self.engine.reconstruct_n(0, self.engine.ntotal)

    def vectors_of(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D) of the products `ids`. Raises `NotFoundError` when one is not in the index."""
        if absent := [id for id in ids if id not in self.rows]:
            raise NotFoundError(f"There is no product {absent[0]!r}.", "Take ids from the answers of this version.")
        return self.engine.reconstruct_batch(np.array([self.rows[id] for id in ids], dtype=np.int64))

    def search(self, queries: np.ndarray, wanted: Sequence[Wanted]) -> list[list[tuple[dict[str, Any], float]]]:
        """For each of `queries` (Q, D) the products that are `wanted` of it, best first: (id, title, category, price) and score."""
        return [self._nearest(query, each) for query, each in zip(queries, wanted, strict=True)]

    def _nearest(self, query: np.ndarray, wanted: Wanted) -> list[tuple[dict[str, Any], float]]:
        import faiss

        allowed = self._allowed(wanted)
        k = min(wanted.k, int(allowed.sum()))
        if not k:
            return []
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(allowed)))
        scores, rows = self.engine.search(np.ascontiguousarray(query[None], dtype=np.float32), k, params=chosen)
        return list(zip(self.products.take(rows[0]).select(COLUMNS).to_pylist(), map(float, scores[0]), strict=True))

    def _allowed(self, wanted: Wanted) -> np.ndarray:
        """(N,) bool: which products may be answered."""
        allowed = np.ones(self.products.num_rows, dtype=bool)
        allowed[[self.rows[id] for id in wanted.excluded if id in self.rows]] = False
        filters = wanted.filters or Filters()
        if filters.category:
            of = [any(c == each or c.startswith(f"{each} > ") for each in filters.category) for c in self.products["category"].to_pylist()]
            allowed &= np.array(of)
        price = np.array(self.products["price"].to_numpy(), dtype=np.float64)
        if filters.price.min is not None:
            allowed &= price >= filters.price.min
        if filters.price.max is not None:
            allowed &= price <= filters.price.max
        if any(filters.attributes.values()):
            allowed &= np.array([_has(json.loads(text or "{}"), filters) for text in self.products["attributes"].to_pylist()])
        return allowed
