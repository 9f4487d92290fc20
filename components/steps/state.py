"""What steps keep under home between runs, so that a killed one goes on: tower features and training checkpoints."""

from pathlib import Path
from typing import Any

from goodsight.digests import sha256_json
from goodsight.settings import settings


def feature_cache() -> Path:
    """Where tower tokens are kept."""
    return settings().root / "features"


def checkpoints(name: str, *inputs: Any) -> Path:
    """Where a training that may be killed keeps its checkpoints: one folder for each set of inputs."""
    return settings().root / "checkpoints" / f"{name}-{sha256_json(list(inputs))[:24]}"
