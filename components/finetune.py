"""KFP component of the step `finetune`: a thin shell over `components.steps.finetune`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
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

    from components import shell
    from components.steps import finetune as room

    read = {"pretrained": pretrained, "snapshot": snapshot, "table": table}
    with shell.step(f"finetune {task}", code, read, bundle=bundle, curve=curve):
        inputs = (Path(pretrained.path), Path(snapshot.path), Path(table.path))
        room.finetune(task, *inputs, int(seed), Path(bundle.path), Path(curve.path))
