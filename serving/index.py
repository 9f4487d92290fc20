"""The index: the products of one snapshot, embedded by one bundle, found by vectors, words and filters.

A folder: `vectors.faiss` and `products.arrow` (row n belongs to vector n), `filters/`, `words/`, `facets.json`,
`thumbnails.arrow`, `index.json`, whose digest covers all of these and where they come from, and `model.sig`. Loading refuses
altered bytes, an unknown signer, and an index that another bundle made: its vectors would mean nothing. What is loaded is mapped
into memory, not read.
Legend: N products, D numbers of a vector, Q queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from goodsight.digests import sha256_files, sha256_json
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, whole_folder, write_json
from lineage.signing import sign, verify
from serving.filters import Filters
from serving.fusion import METHODS, MOST_QUERIES, POOL, VECTORS_ALONE, Held, measured
from serving.listing import COLUMNS, Allowed, Listing, write_listing
from serving.milvus import Milvus, configured
from serving.nearest import SPARE, Nearest, best, build_vectors, extend_vectors
from serving.thumbnails import Images, kept_thumbnails, write_thumbnails
from serving.words import Words, write_words

RECORD = "index.json"
PROVENANCE = ("candidate", "bundle", "snapshot")
OPTIONAL = ("attributes", "words", "content")
REMAKE = "Make the index again from the snapshot and the bundle."


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


def _checked(vectors: np.ndarray, products: pa.Table) -> np.ndarray:
    if vectors.ndim != 2 or vectors.shape[0] != products.num_rows:
        raise InputError(f"Vectors of shape {vectors.shape} do not belong to {products.num_rows} products.")
    if not products.num_rows:
        raise InputError("There are no products to index.", "Index a snapshot that has products.")
    return _finite(vectors)


def _finite(vectors: np.ndarray) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise InputError(f"{(~np.isfinite(vectors).all(axis=1)).sum()} of {len(vectors)} vectors are not finite.", REMAKE)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def build_index(
    vectors: np.ndarray,
    products: pa.Table,
    provenance: Mapping[str, str],
    out: Path,
    held: Held | None = None,
    images: Images = (),
) -> str:
    """Writes the signed index of `vectors` (N, D), L2-normalised float32, and returns its digest.

    `products` has N rows of id, title, category, price, and may have `attributes` (a JSON object as text) to filter by, `words`
    to be found by beside title and category, and `content` (a digest of all that was embedded) for `update_index`; `provenance`
    the digests of `candidate`, `bundle` and `snapshot`. `held` queries say how much words count, and tune the search. Of `images`, the
    products' pictures in any order, thumbnails are kept.
    Raises `InputError` when the two do not match or a vector is not finite.
    """
    array, rows = _checked(vectors, products), _complete(products)
    with whole_folder(out) as folder:
        write_thumbnails(images, folder)
        record = build_vectors(array, folder, held.vectors if held else None)
        return _finished(folder, record, rows, provenance, held)


def update_index(
    old: Index,
    fresh: np.ndarray,
    products: pa.Table,
    provenance: Mapping[str, str],
    out: Path,
    held: Held | None = None,
    images: Images = (),
) -> str:
    """As `build_index`, with the vectors of `old` for the products that it has with equal `content`; returns the new digest.

    `fresh` (M, D) are the vectors of the others, in order of `products` (`Index.unchanged` tells which). A graph gets them linked
    in, and what left the catalogue stays in it as a way to others, until that is more than `SPARE` of it. Without `held`, words
    count as in `old`. Thumbnails of `old` are kept too; `images` are those of the others.
    Raises `InputError` when `old` was made by another bundle or a vector is missing.
    """
    kept = old.unchanged(products)
    if provenance["bundle"] != old.record["bundle"]:
        raise InputError("The index to go on from was made by another bundle: its vectors mean something else.", REMAKE)
    if len(fresh) != (kept < 0).sum():
        raise InputError(f"There are {len(fresh)} vectors for {(kept < 0).sum()} new or changed products.")
    total, same = old.nearest.count + len(fresh), products["id"].filter(pa.array(kept >= 0)).to_pylist()
    if old.record["kind"] == "flat" or len(kept) < (1 - SPARE) * total:
        vectors = np.empty((len(kept), old.record["dimension"]), np.float32)
        vectors[kept >= 0], vectors[kept < 0] = old.nearest.vectors(kept[kept >= 0]), fresh
        with whole_folder(out) as folder:
            write_thumbnails(images, folder, kept_thumbnails(old.folder, same))
            record = build_vectors(_checked(vectors, products), folder, held.vectors if held else None)
            return _finished(folder, record, _complete(products), provenance, held, old.record["fusion"])
    places = np.where(kept >= 0, kept, -1)
    places[kept < 0] = np.arange(old.nearest.count, total)
    order: list[int | None] = [None] * total  # row of the graph -> row of `products`
    for row, place in enumerate(places.tolist()):
        order[place] = row
    with whole_folder(out) as folder:
        write_thumbnails(images, folder, kept_thumbnails(old.folder, same))
        record = extend_vectors(old.folder, old.record, _finite(fresh), folder, held.vectors if held else None)
        return _finished(folder, record, _complete(products).take(pa.array(order, pa.int64())), provenance, held, old.record["fusion"])


def _complete(products: pa.Table) -> pa.Table:
    for name in set(OPTIONAL) - set(products.column_names):
        products = products.append_column(name, pa.nulls(products.num_rows, pa.string()))
    return products.select((*COLUMNS, *OPTIONAL))


def _finished(
    folder: Path,
    record: dict[str, Any],
    products: pa.Table,
    provenance: Mapping[str, str],
    held: Held | None,
    fusion: Mapping[str, Any] = VECTORS_ALONE,
) -> str:
    """Writes all of the index beside its vectors, the record last, and signs it. Without `held`, `fusion` is how words count."""
    write_listing(products, folder)
    columns = [products[name].to_pylist() for name in ("title", "category", "words")]
    write_words((" ".join(filter(None, texts)) for texts in zip(*columns, strict=True)), folder)
    record |= {name: provenance[name] for name in PROVENANCE}
    record |= {"count": products.num_rows - products["id"].null_count, "rows": products.num_rows, "fusion": fusion}
    if held:
        record["fusion"] = _fusion(_opened(folder, record), held)
    record["files"] = sha256_files(folder)
    digest = sha256_json(record)
    write_json(folder / RECORD, {**record, "digest": digest})
    sign(folder)
    return digest


def _fusion(index: Index, held: Held) -> dict[str, Any]:
    allowed, pools = index.listing.allowed(), []
    for text, vector, ids in list(zip(held.texts, held.vectors, held.relevant, strict=False))[:MOST_QUERIES]:
        rows, near, words = index.pool(vector, text, POOL, allowed)
        pools.append((near, words, np.isin(rows, [row for id in ids if (row := index.listing.row_of(id)) is not None])))
    return measured(pools)


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
        if "fusion" not in record:
            raise IntegrityError(f"The index {path} was made by an older version of Goodsight.", REMAKE)
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise IntegrityError(f"The index {path} is not whole: {error!r}.", REMAKE) from error
    return record


def _opened(folder: Path, record: dict[str, Any]) -> Index:
    return Index(folder, record, Listing.open(folder), Nearest.open(folder, record), Words.open(folder))


@dataclass(frozen=True)
class Index:
    """A verified index, mapped into memory."""

    folder: Path
    record: dict[str, Any]
    listing: Listing
    nearest: Nearest
    words: Words
    server: Milvus | None = None  # that finds what is nearest instead of this process

    @staticmethod
    def load(path: Path, bundle_digest: str) -> Index:
        """The index at `path`. Raises `IntegrityError` for altered or unsigned bytes or an index of another bundle."""
        record = _verified(path, bundle_digest)
        found = _opened(path, record)
        if not found.nearest.count == found.listing.count == record["rows"]:
            raise IntegrityError(f"The index {path} has {found.nearest.count} vectors for {found.listing.count} products.", REMAKE)
        return found

    def served(self) -> Index:
        """This index, as it answers: by Milvus where that is configured. Raises `IntegrityError` when Milvus does not have it."""
        return replace(self, server=Milvus.open(self)) if configured() else self

    @property
    def digest(self) -> str:
        return str(self.record["digest"])

    @property
    def snapshot(self) -> str:
        return str(self.record["snapshot"])

    @property
    def facets(self) -> dict[str, Any]:
        """What can be filtered by: categories, the range of prices, the commonest attributes and values, with their numbers."""
        return self.listing.facets

    @property
    def ids(self) -> list[str]:
        """Of the products, in order of their vectors."""
        return [id for id in self.listing.products["id"].to_pylist() if id is not None]

    @property
    def vectors(self) -> np.ndarray:
        """(N, D), float32."""
        return self.nearest.vectors(np.flatnonzero(self.listing.allowed().mask))

    def vectors_of(self, ids: Sequence[str]) -> np.ndarray:
        """(N, D) of the products `ids`. Raises `NotFoundError` when one is not in the index."""
        return self.nearest.vectors(self.listing.rows_of(ids))

    def unchanged(self, products: pa.Table) -> np.ndarray:
        """(M,) for each of `products` its row here, -1 where it is new or its `content` is another."""
        if "content" not in products.column_names:
            return np.full(products.num_rows, -1)
        rows = [self.listing.row_of(id) for id in products["id"].to_pylist()]
        known = self.listing.products["content"].take(pa.array(rows, pa.int64())).to_pylist()
        told = zip(rows, known, products["content"].to_pylist(), strict=True)
        return np.array([row if row is not None and old is not None and old == new else -1 for row, old, new in told], np.int64)

    def search(self, queries: np.ndarray, wanted: Sequence[Wanted]) -> list[list[tuple[dict[str, Any], float]]]:
        """For each of `queries` (Q, D) the products that are `wanted` of it, best first: (id, title, category, price) and score."""
        found = [self._found(query, each) for query, each in zip(queries, wanted, strict=True)]
        return [list(zip(self.listing.take(rows), map(float, scores), strict=True)) for rows, scores in found]

    def _found(self, query: np.ndarray, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
        allowed = self.listing.allowed(wanted.filters, wanted.excluded)
        fusion = self.record["fusion"]
        lexical = (fusion["lexical"] if wanted.lexical is None else wanted.lexical) if wanted.text else 0.0
        if not lexical:
            return self._nearest(query, wanted.k, allowed)
        rows, near, words = self.pool(query, wanted.text or "", max(POOL, 2 * wanted.k), allowed)
        if lexical == 1:
            rows, near, words = rows[words > 0], near[words > 0], words[words > 0]
        return best(rows, METHODS[fusion["method"]](near, words, lexical), wanted.k)

    def _nearest(self, query: np.ndarray, k: int, allowed: Allowed) -> tuple[np.ndarray, np.ndarray]:
        return (self.server or self.nearest).search(query, k, allowed)

    def pool(self, query: np.ndarray, text: str, size: int, allowed: Allowed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that are among the `size` best by vector or by words, their inner products and their BM25 scores."""
        rows, _ = self._nearest(query, size, allowed)
        words = self.words.scores(text)
        if words is None:
            return rows, self.nearest.scores(query, rows), np.zeros(len(rows), np.float32)
        having = np.flatnonzero((words > 0) & allowed.mask)
        by_words, _ = best(having, words[having], size)
        rows = np.union1d(rows, by_words)
        return rows, self.nearest.scores(query, rows), words[rows]
