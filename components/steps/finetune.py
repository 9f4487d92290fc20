"""Step 5, once a task: fine-tunes the pretrained bundle for `categorize` or `retrieve`."""

from dataclasses import asdict
from pathlib import Path


def finetune(task: str, pretrained: Path, snapshot: Path, table: Path, seed: int, bundle: Path, curve: Path) -> str:
    """Writes the bundle fine-tuned for `task` and its loss curve (JSON lines); returns the bundle's digest."""
    import torch

    from components.steps.state import checkpoints, feature_cache
    from goodsight.digests import code_digest
    from goodsight.settings import settings
    from models.bundle import Bundle
    from models.device import device
    from models.features import FeatureCache, load_product_data
    from models.finetune import finetune_task
    from models.recipes import finetuning
    from models.training import write_history

    torch.set_num_threads(settings().threads)
    torch.manual_seed(seed)
    parent = Bundle.load(pretrained, device())
    data = load_product_data(snapshot, table, FeatureCache(feature_cache(), parent.model, parent.preprocess))
    recipe = finetuning(parent.config.architecture, task, parent.config.size, len(data.rows("train", "catalogue")), seed)
    place = checkpoints(task, parent.digest, asdict(recipe), code_digest("models.finetune"))
    tuned, history = finetune_task(task, parent, data, recipe, place)
    write_history(curve, history)
    tuned.provenance["code"] = code_digest("components.steps.finetune")
    return tuned.save(bundle)
