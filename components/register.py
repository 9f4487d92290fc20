"""Step 8, when promoted: one MLflow run and model version with parameters, figures, plots and the dataset."""

from pathlib import Path

from kfp import dsl

from goodsight.settings import IMAGE


def register(candidate: Path, evaluation: Path, verdict: Path, plots: Path, snapshot: Path, revision: str, params: dict[str, object]) -> str:
    """Registers the candidate and returns its version; a candidate that is registered already keeps its version."""
    import lineage.registry
    from catalogue.snapshot import Snapshot

    opened = Snapshot.open(snapshot)
    data = {"name": opened.manifest["source"], "digest": opened.digest, "source": revision}
    return lineage.registry.register(candidate, evaluation, verdict, data, params, plots, run_name=revision)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
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
) -> str:
    from pathlib import Path

    from components import register as room
    from components import shell

    with shell.step("register"):
        inputs = [Path(artifact.path) for artifact in (candidate, evaluation, verdict, plots, snapshot)]
        return room.register(*inputs, revision, {"architecture": architecture, "size": size, "seed": int(seed)})
    raise SystemExit(1)
