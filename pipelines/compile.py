"""The pipelines as YAML for a Kubeflow Pipelines cluster."""

from pathlib import Path
from typing import Literal

Name = Literal["retrain", "bulk"]


def compile_pipeline(out: Path, name: Name = "retrain") -> Path:
    """Writes a compiled pipeline to `out` whole; document 1 is the spec, with each component's image and source."""
    import importlib

    from kfp import compiler

    from goodsight.files import whole_file

    pipeline = getattr(importlib.import_module(f"pipelines.{name}"), name)
    with whole_file(out) as aside:
        compiler.Compiler().compile(pipeline, str(aside))
    return out
