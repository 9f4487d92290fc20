"""KFP component of the step `deploy`: a thin shell over `components.steps.deploy`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def deploy_component(
    candidate: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Artifact],
    snapshot: dsl.Input[dsl.Dataset],
    store: dsl.Input[dsl.Artifact],
    version: str,
    champion: str,
    release: str,
    code: str,
    deployment: dsl.Output[dsl.Artifact],
) -> str:
    from pathlib import Path

    from components import figures, shell
    from components.steps import deploy as room

    read = {"candidate": candidate, "index": index, "snapshot": snapshot, "store": store, "version": version}
    with shell.step("deploy", code, read, deployment=deployment) as came:
        came.update(figures.of_verdict(Path(candidate.path) / "verdict.json"), version=version)  # gate and register may be from the cache
        inputs = (Path(candidate.path), Path(index.path), Path(snapshot.path), Path(store.path))
        result = room.deploy(*inputs, version, champion, release, Path(deployment.path))
    return result
