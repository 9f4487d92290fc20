"""KFP component of the step `register`: a thin shell over `components.steps.register`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def register_component(
    candidate: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    plots: dsl.Input[dsl.Artifact],
    snapshot: dsl.Input[dsl.Dataset],
    revision: str,
    architecture: str,
    size: str,
    seed: int,
    code: str,
    registered: dsl.Output[dsl.Model],
) -> str:
    from pathlib import Path

    from components import figures, shell
    from components.steps import register as room

    read = {"candidate": candidate, "evaluation": evaluation, "verdict": verdict, "snapshot": snapshot}
    with shell.step("register", code, read, registered=registered) as came:
        inputs = (Path(candidate.path), Path(evaluation.path), Path(verdict.path), Path(plots.path), Path(snapshot.path))
        params = {"architecture": architecture, "size": size, "seed": int(seed)}
        came.update(figures.of_verdict(inputs[2]))  # the gate may have come from the cache
        came["version"] = result = room.register(*inputs, revision, params, code, Path(registered.path))
    return result
