"""KFP component of the step `features`: a thin shell over `components.steps.features`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def features_component(  # type: ignore[no-untyped-def]
    snapshot: dsl.Input[dsl.Dataset], code: str, store: dsl.Output[dsl.Artifact], table: dsl.Output[dsl.Dataset]
):
    from pathlib import Path

    from components import shell
    from components.steps import features as room

    with shell.step("features", code, {"snapshot": snapshot}, store=store, table=table):
        room.features(Path(snapshot.path), Path(store.path), Path(table.path))
