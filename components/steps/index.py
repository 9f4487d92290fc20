"""Step 9: embeds every product of the snapshot with the candidate; what search shows comes from the online feature store.

Where the index that serves was made by the same bundle, its vectors stay, and only products that are new or changed are embedded.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from models.bundle import Bundle
    from serving.fusion import Held
    from serving.index import Index


def index(candidate: Path, snapshot: Path, table: Path, store: Path, out: Path) -> None:
    """Writes the signed index of all products, tied to the retrieve bundle's digest.

    Raises `IntegrityError` when the candidate's signature does not count.
    """
    import pyarrow as pa
    import torch

    from catalogue.snapshot import Snapshot
    from goodsight.files import read_json
    from goodsight.progress import note
    from goodsight.settings import settings
    from lineage.signing import verify
    from models.bundle import Bundle
    from models.device import device
    from serving.index import build_index, update_index
    from serving.thumbnails import first_images

    verify(candidate)
    opened = Snapshot.open(snapshot)
    torch.set_num_threads(settings().threads)
    bundle = Bundle.load(candidate / "retrieve", device())
    products = listed(snapshot, table, store)
    provenance = {
        "candidate": read_json(candidate / "candidate.json")["digest"],
        "bundle": bundle.digest,
        "snapshot": opened.digest,
    }
    before = _served(bundle.digest)
    if before is None:
        vectors, held = embedded(bundle, snapshot, table, products["id"].to_pylist())
        build_index(vectors, products, provenance, out, held, images=first_images(opened, products["id"].to_pylist()))
        return
    fresh = products["id"].filter(pa.array(before.unchanged(products) < 0)).to_pylist()
    note(f"{len(fresh):,} of {products.num_rows:,} products are new or changed: they alone are embedded")
    found = embedded(bundle, snapshot, table, fresh) if fresh else (before.vectors[:0], None)
    update_index(before, found[0], products, provenance, out, found[1], images=first_images(opened, fresh))


def _served(bundle: str) -> Index | None:
    """The index that serves in this home, when its vectors are of this bundle."""
    from goodsight.errors import GoodsightError
    from goodsight.progress import note
    from goodsight.settings import settings
    from serving.deploy import current, store
    from serving.index import Index
    from serving.thumbnails import Thumbnails

    served = current(settings().root)
    if served is None:
        return None
    try:
        found = Index.load(store(settings().root) / served.archive / "index", bundle)
        Thumbnails(found.folder)
        return found
    except GoodsightError as error:  # of another bundle, as after every training, or not to be trusted
        note(f"all products are embedded: {error.message}")
        return None


def listed(snapshot: Path, table: Path, store: Path) -> pa.Table:
    """What the index holds of each product: its listing, its attributes, its words, and the digest of all that is embedded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from feature_repo.store import online_products

    rows = pq.read_table(table / "products.parquet").to_pylist()
    told = _told(snapshot)
    products = online_products(store, [row["product_id"] for row in rows])
    words = [" ".join([row["description"], *_values(row["attributes"]), *told[row["product_id"]]["titles"]]) for row in rows]
    content = [_content(row, told[row["product_id"]]["media"]) for row in rows]
    columns = {"attributes": [row["attributes"] for row in rows], "words": words, "content": content}
    for name, values in columns.items():
        products = products.append_column(name, pa.array(values, pa.string()))
    return products


def _values(attributes: str) -> list[str]:
    values: list[Any] = []
    for value in json.loads(attributes).values():
        values += value if isinstance(value, list) else [value]
    return [value for value in values if isinstance(value, str)]


def _content(row: dict[str, Any], media: list[str]) -> str:
    from goodsight.digests import sha256_json

    return sha256_json([row["title"], row["description"], row["attributes"], media])


def _told(snapshot: Path) -> dict[str, dict[str, list[str]]]:
    """Of each product its titles in other languages, and the digests of its media."""
    import pyarrow.parquet as pq

    from catalogue.snapshot import Snapshot
    from goodsight.digests import sha256_bytes

    found = {}
    for shard in Snapshot.open(snapshot).shards("products"):
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=256, columns=["id", "title_i18n", "images", "video", "audio"]):
            for row in batch.to_pylist():
                media = [*(row["images"] or [])[:1], row["video"], row["audio"]]
                titles = list(json.loads(row["title_i18n"] or "{}").values())
                found[row["id"]] = {"titles": titles, "media": [sha256_bytes(each or b"") for each in media]}
    return found


def embedded(bundle: Bundle, snapshot: Path, table: Path, ids: list[str]) -> tuple[np.ndarray, Held]:
    """Vectors (N, D) of the products `ids`, at least one, and the queries that were held out for validation."""
    import torch

    from components.steps.state import feature_cache
    from models.evaluate import in_batches, product_embeddings
    from models.features import FeatureCache, load_product_data
    from serving.fusion import Held

    with tempfile.TemporaryDirectory() as aside:
        cache = FeatureCache(feature_cache(), bundle.model, bundle.preprocess)
        data = load_product_data(snapshot, _part(table, ids, Path(aside)), cache)
    row_of = {id: row for row, id in enumerate(data.product_ids)}
    vectors = product_embeddings(bundle.model, data, torch.tensor([row_of[id] for id in ids])).numpy()
    queries = [row for row, split in enumerate(data.query_split) if split == "val"]
    if not queries:
        return vectors, Held([], vectors[:0], [])
    texts, answers = [data.query_texts[row] for row in queries], _answers(table)
    asked = in_batches(torch.tensor(queries), lambda part: bundle.model.embed(data.text_queries(part))).numpy()
    return vectors, Held(texts, asked, [answers[text] for text in texts])


def _part(table: Path, ids: list[str], aside: Path) -> Path:
    """The training table with the products `ids` alone, and all pairs."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    products = pq.read_table(table / "products.parquet")
    pq.write_table(products.filter(pc.is_in(products["product_id"], pa.array(ids))), aside / "products.parquet")
    (aside / "pairs.parquet").symlink_to((table / "pairs.parquet").resolve())
    return aside


def _answers(table: Path) -> dict[str, list[str]]:
    """Words of each text query -> the products that answer it."""
    from models.features import Tables, query_words

    found: dict[str, list[str]] = {}
    pairs = Tables.read(table).pairs
    for kind, text, product in zip(pairs["kind"], pairs["text"], pairs["product_id"], strict=True):
        if kind == "text":
            found.setdefault(query_words(text), []).append(product)
    return found
