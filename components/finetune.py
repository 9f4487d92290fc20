"""Step 5, once a task: fine-tunes the pretrained bundle for `categorize` or `retrieve`."""

from pathlib import Path

from kfp import dsl

from goodsight.settings import IMAGE


def finetune(task: str, pretrained: Path, snapshot: Path, table: Path, seed: int, bundle: Path, curve: Path) -> str:
    """Writes the bundle fine-tuned for `task` and its loss curve (JSON lines); returns the bundle's digest."""
    import torch

    from components.shell import checkpoints, feature_cache
    from goodsight.digests import code_digest
    from goodsight.settings import settings
    from models.bundle import Bundle
    from models.config import as_dict
    from models.features import FeatureCache, load_product_data
    from models.finetune import finetune_task
    from models.recipes import finetuning
    from models.training import write_history

    torch.set_num_threads(settings().threads)
    torch.manual_seed(seed)
    parent = Bundle.load(pretrained)
    data = load_product_data(snapshot, table, FeatureCache(feature_cache(), parent.model.towers, parent.preprocess))
    recipe = finetuning(task, parent.config.size, len(data.rows("train", "catalogue")), seed)
    place = checkpoints(task, parent.digest, as_dict(recipe), code_digest("models.finetune"))
    tuned, history = finetune_task(task, parent, data, recipe, place)
    write_history(curve, history)
    tuned.provenance["code"] = code_digest("components.finetune")
    return tuned.save(bundle)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finetune_component(  # type: ignore[no-untyped-def]
    task: str,
    pretrained: dsl.Input[dsl.Model],
    snapshot: dsl.Input[dsl.Dataset],
    table: dsl.Input[dsl.Dataset],
    seed: int,
    code: str,
    bundle: dsl.Output[dsl.Model],
    curve: dsl.Output[dsl.Artifact],
):
    from pathlib import Path

    from components import finetune as room
    from components import shell

    with shell.step(f"finetune {task}", bundle=bundle, curve=curve):
        inputs = (Path(pretrained.path), Path(snapshot.path), Path(table.path))
        room.finetune(task, *inputs, int(seed), Path(bundle.path), Path(curve.path))
