"""KFP component of the step `pretrain`: a thin shell over `components.steps.pretrain`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def pretrain_component(  # type: ignore[no-untyped-def]
    snapshot: dsl.Input[dsl.Dataset],
    table: dsl.Input[dsl.Dataset],
    architecture: str,
    size: str,
    seed: int,
    code: str,
    bundle: dsl.Output[dsl.Model],
    curve: dsl.Output[dsl.Artifact],
):
    from pathlib import Path

    from components import shell
    from components.steps import pretrain as room
    from lineage.training_run import TrainingRun

    with shell.step("pretrain", code, {"snapshot": snapshot, "table": table}, bundle=bundle, curve=curve):
        paths = (Path(bundle.path), Path(curve.path))
        room.pretrain(Path(snapshot.path), Path(table.path), architecture, size, int(seed), *paths, TrainingRun)
