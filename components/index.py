"""KFP component of the step `index`: a thin shell over `components.steps.index`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def index_component(  # type: ignore[no-untyped-def]
    candidate: dsl.Input[dsl.Model],
    snapshot: dsl.Input[dsl.Dataset],
    table: dsl.Input[dsl.Dataset],
    store: dsl.Input[dsl.Artifact],
    code: str,
    index: dsl.Output[dsl.Artifact],
):
    from pathlib import Path

    from components import shell
    from components.steps import index as room

    read = {"candidate": candidate, "snapshot": snapshot, "table": table, "store": store}
    with shell.step("index", code, read, index=index):
        room.index(*(Path(artifact.path) for artifact in (candidate, snapshot, table, store, index)))
