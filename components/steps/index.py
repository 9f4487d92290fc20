"""Step 9: embeds every product of the snapshot with the candidate; what search shows comes from the online feature store."""

from pathlib import Path


def index(candidate: Path, snapshot: Path, table: Path, store: Path, out: Path) -> None:
    """Writes the signed vector index of all products, tied to the retrieve bundle's digest.

    Raises `IntegrityError` when the candidate's signature does not count.
    """
    import torch

    from catalogue.snapshot import Snapshot
    from components.steps.state import feature_cache
    from feature_repo.store import online_products
    from goodsight.files import read_json
    from goodsight.settings import settings
    from lineage.signing import verify
    from models.bundle import Bundle
    from models.device import device
    from models.evaluate import product_embeddings
    from models.features import FeatureCache, load_product_data
    from serving.index import build_index

    verify(candidate)
    torch.set_num_threads(settings().threads)
    bundle = Bundle.load(candidate / "retrieve", device())
    data = load_product_data(snapshot, table, FeatureCache(feature_cache(), bundle.model, bundle.preprocess))
    vectors = product_embeddings(bundle.model, data, torch.arange(len(data.product_ids)))
    provenance = {
        "candidate": read_json(candidate / "candidate.json")["digest"],
        "bundle": bundle.digest,
        "snapshot": Snapshot.open(snapshot).digest,
    }
    build_index(vectors.numpy(), online_products(store, data.product_ids), provenance, out)
