"""The feature store that serves beside a model: a copy of its run's, with the vectors of its index and what happened since.

Its online values lie where GOODSIGHT_ONLINE_STORE says, in a project named after the index, so that several models share one
Redis or Postgres without mixing. The feature service of the model's name says what is read, and by its tags what it is made of.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from filelock import FileLock

from feature_repo.activity import INSTANT
from feature_repo.online import OnlineFeatures, write_table
from feature_repo.store import BEGINNING, CONFIG, open_store, quiet
from goodsight.files import whole_folder, write_bytes


def serve_features(
    store: Path, out: Path, name: str, digests: Mapping[str, str], ids: Sequence[str], vectors: np.ndarray, now: datetime
) -> None:
    """Makes the store `out` of the model `name` from its run's `store`, with all values as of `now` online.

    `vectors` (N, D) are those of the products `ids` in the index, `digests` at least that of the `index`. Events that were pushed to
    the stores beside `out` count.
    """
    with whole_folder(out) as folder:
        for source in store.glob("*.parquet"):
            shutil.copyfile(source, folder / source.name)
        said = yaml.safe_load((store / CONFIG).read_text()) | {"project": f"goodsight_{digests['index'][:12]}"}
        write_bytes(folder / CONFIG, yaml.safe_dump({key: value for key, value in said.items() if key != "online_store"}).encode())
        pq.write_table(_embeddings(ids, vectors, now), folder / "product_embedding.parquet")
        with open_store(folder) as feast, quiet():
            from feature_repo.definitions import DEFINITIONS, model_service, product_embedding

            feast.apply([*DEFINITIONS, product_embedding, model_service(name, dict(digests))])
            feast.materialize(BEGINNING, now, feature_views=["product_listing", "product_embedding"])
        with OnlineFeatures(folder) as online:
            online.refresh(now)


def forget_features(folder: Path) -> None:
    """Removes a served store, its values in a shared Redis or Postgres too."""
    with open_store(folder) as feast, quiet():
        feast.teardown()
    shutil.rmtree(folder)


def forget_events(stores: Path, product: str) -> None:
    """Takes a product out of what was pushed, and refused, beside the served stores in the folder `stores`."""
    for path in sorted((stores / "pushed").glob("*.parquet")):
        with FileLock(path.parent / ".lock"):
            rows = pq.read_table(path)
            names_it = pc.match_substring(rows["row"], product) if "row" in rows.column_names else pc.equal(rows["product"], product)
            left = rows.filter(pc.invert(names_it))
            if len(left) < len(rows):
                write_table(left, path)


def _embeddings(ids: Sequence[str], vectors: np.ndarray, now: datetime) -> pa.Table:
    width = vectors.shape[1]
    offsets = pa.array(np.arange(0, vectors.size + 1, width), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(vectors.astype(np.float32).ravel()))
    times = pa.repeat(pa.scalar(now, INSTANT), len(ids))
    return pa.table({"product_id": pa.array(ids, pa.string()), "embedding": lists, "event_timestamp": times, "created_timestamp": times})
