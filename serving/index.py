"""The vector index: the products of one snapshot, embedded by one bundle, searched by inner product.

A folder: `vectors.faiss`, `products.parquet` (row n belongs to vector n) and `index.json`, whose digest covers both files
and where they come from, and `model.sig`. Loading refuses altered bytes, an unknown signer, and an index that another bundle
made: its vectors would mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from goodsight.digests import sha256_file, sha256_json
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, whole_folder, write_json
from lineage.signing import sign, verify

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

    `products` has N rows of id, title, category, price; `provenance` the digests of `candidate`, `bundle` and `snapshot`.
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
        pq.write_table(products.select(COLUMNS), folder / PRODUCTS)
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

    @property
    def vectors(self) -> np.ndarray:
        """(N, D), float32."""
        return self.engine.reconstruct_n(0, self.engine.ntotal)

    def search(self, queries: np.ndarray, k: int) -> list[list[tuple[dict[str, Any], float]]]:
        """For each of `queries` (Q, D) its `k` nearest products, best first: (id, title, category, price) and inner product."""
        scores, rows = self.engine.search(np.ascontiguousarray(queries, dtype=np.float32), min(k, self.engine.ntotal))
        return [
            list(zip(self.products.take(found).to_pylist(), map(float, near), strict=True))
            for found, near in zip(rows, scores, strict=True)
        ]
