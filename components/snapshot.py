"""KFP component of the step `snapshot`: a thin shell over `components.steps.snapshot`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def snapshot_component(revision: str, code: str, snapshot: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]
    from pathlib import Path

    from components import shell
    from components.steps import snapshot as room

    with shell.step("snapshot", code, {"revision": revision}, snapshot=snapshot):
        snapshot.metadata["snapshot"] = room.snapshot(revision, Path(snapshot.path))
