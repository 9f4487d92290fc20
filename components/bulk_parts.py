"""KFP component of the step `bulk-parts`: a thin shell over `components.steps.bulk`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def bulk_parts_component(snapshot: dsl.Input[dsl.Dataset], rows: int, code: str) -> list:  # type: ignore[type-arg]
    from pathlib import Path

    from components import shell
    from components.steps import bulk as room

    with shell.step("bulk-parts", code, {"snapshot": snapshot}):
        result = room.parts(Path(snapshot.path), int(rows))
    return result
