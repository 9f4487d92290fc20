"""Step 8, when promoted: one MLflow run and model version with parameters, figures, plots and the dataset."""

from pathlib import Path


def register(
    candidate: Path, evaluation: Path, verdict: Path, plots: Path, snapshot: Path, revision: str, params: dict[str, object]
) -> str:
    """Registers the candidate and returns its version; a candidate that is registered already keeps its version."""
    import lineage.registry
    from catalogue.snapshot import Snapshot

    opened = Snapshot.open(snapshot)
    data = {"name": opened.manifest["source"], "digest": opened.digest, "source": revision}
    return lineage.registry.register(candidate, evaluation, verdict, data, params, plots, run_name=revision)
