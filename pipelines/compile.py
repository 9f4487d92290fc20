"""The pipeline as YAML for a Kubeflow Pipelines cluster."""

from pathlib import Path


def compile_pipeline(out: Path) -> Path:
    """Writes the compiled pipeline to `out` whole; document 1 is the spec, with each component's image and source."""
    import tempfile

    from kfp import compiler

    from goodsight.files import write_bytes
    from pipelines.retrain import retrain

    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(retrain, str(aside))
        write_bytes(out, aside.read_bytes())
    return out
