"""KFP component of the step `gate`: a thin shell over `components.steps.gate`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def gate_component(
    evaluation: dsl.Input[dsl.Artifact],
    champion_evaluation: dsl.Input[dsl.Artifact],
    policy: str,
    overrides: str,
    code: str,
    verdict: dsl.Output[dsl.Artifact],
) -> str:
    from pathlib import Path

    from components import figures, shell
    from components.steps import gate as room

    read = {"evaluation": evaluation, "champion_evaluation": champion_evaluation}
    with shell.step("gate", code, read, verdict=verdict) as came:
        result = room.gate(Path(evaluation.path), Path(champion_evaluation.path), policy, Path(verdict.path))
        came.update(figures.of_verdict(Path(verdict.path)))
    return result
