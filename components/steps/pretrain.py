"""Step 4: pretrains the architecture on the training split; a killed one goes on from its checkpoint."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

Tracker = Callable[[str, Path, dict[str, Any]], AbstractContextManager[Any]]  # of name, place and parameters; has `told`


def pretrain(
    snapshot: Path, table: Path, architecture: str, size: str, seed: int, bundle: Path, curve: Path, tracker: Tracker | None = None
) -> str:
    """Writes the pretrained bundle and its loss curve (JSON lines); returns the bundle's digest.

    Trains in this process, or as a TrainJob on the cluster where `train_runtime` names its runtime. `tracker` makes what is told
    the figures of each step (`lineage.training_run.TrainingRun`); it has no part in what comes of the step.
    """
    from components.train_job import train_on_cluster
    from goodsight.settings import settings

    if settings().train_runtime:
        return train_on_cluster(snapshot, table, architecture, size, seed, bundle, curve)
    return train_here(snapshot, table, architecture, size, seed, bundle, curve, tracker)


def train_here(
    snapshot: Path, table: Path, architecture: str, size: str, seed: int, bundle: Path, curve: Path, tracker: Tracker | None = None
) -> str:
    """Trains on this rank, one of those that torchrun started or alone; the first one writes bundle and curve.

    Returns the bundle's digest, on the other ranks nothing.
    """
    import torch

    import models.pretraining
    from catalogue.snapshot import Snapshot
    from components.steps.state import checkpoints, feature_cache
    from goodsight.digests import code_digest
    from goodsight.settings import settings
    from models import distributed
    from models.architectures import build
    from models.bundle import PRETRAINED, Bundle
    from models.config import as_dict, model_config
    from models.device import device
    from models.features import load_product_data
    from models.pixels import cache_for
    from models.preprocess import preprocess_for
    from models.recipes import pretraining
    from models.sharding import whole
    from models.towers import tokenizer_of
    from models.training import write_history

    torch.set_num_threads(settings().threads)
    distributed.start()
    config = model_config(architecture, size)
    torch.manual_seed(seed)
    model = build(config).load_pretrained().to(device())
    preprocess = preprocess_for(config, tokenizer_of(config.text_tower))
    with distributed.first_alone():  # the first rank of a machine fills the cache, the others find it full
        data = load_product_data(snapshot, table, cache_for(feature_cache(), model, preprocess), model.learns_from_scenes)
    recipe = pretraining(architecture, size, len(data.rows("train", "catalogue")), seed)
    digest = Snapshot.open(snapshot).digest
    place = checkpoints("pretrain", digest, as_dict(config), asdict(recipe), code_digest("models.pretraining"))
    params = {"snapshot": digest, **asdict(recipe)}
    with tracker(f"pretrain {architecture} {size}", place, params) if tracker else nullcontext() as run:
        history = models.pretraining.pretrain(model, data, preprocess, recipe, place, run.told if run else None)
    trained = whole(model)
    if distributed.rank():
        return ""
    write_history(curve, history)
    provenance = {"snapshot": digest, "recipe": asdict(recipe), "code": code_digest("components.steps.pretrain")}
    return Bundle(trained, preprocess, PRETRAINED, provenance=provenance).save(bundle)
