"""KFP component of the step `bulk-predict`: a thin shell over `components.steps.bulk`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def bulk_predict_component(  # type: ignore[no-untyped-def]
    snapshot: dsl.Input[dsl.Dataset],
    task: str,
    version: str,
    k: int,
    part: str,
    code: str,
    answers: dsl.Output[dsl.Dataset],
):
    from pathlib import Path

    from components import shell
    from components.steps import bulk as room

    with shell.step("bulk-predict", code, {"snapshot": snapshot, "version": version}, answers=answers):
        room.predict(Path(snapshot.path), task, version, int(k), part, Path(answers.path))
