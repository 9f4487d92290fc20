"""KFP component of the step `bulk-merge`: a thin shell over `components.steps.bulk`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def bulk_merge_component(
    parts: dsl.Input[list[dsl.Dataset]],
    revision: str,
    code: str,
    answers: dsl.Output[dsl.Dataset],
) -> int:
    from pathlib import Path

    from components import shell
    from components.steps import bulk as room

    with shell.step("bulk-merge", code, {"parts": parts}, answers=answers):
        result = room.merge([Path(part.path) for part in parts], revision, Path(answers.path))
    return result
