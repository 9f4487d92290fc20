"""The cache of kfp.local, made to trust content: keys see digests instead of paths, and a hit re-checks the cached bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.local import cache

from goodsight.digests import sha256_folder


class VerifiedCache(cache.LocalCache):
    """Used in place of kfp's own; `hits` names the steps answered from it, `outputs` holds what every step gave."""

    def __init__(self, cache_root: str) -> None:
        super().__init__(cache_root)
        self.hits: list[str] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self.on_hit: Callable[[str], None] = lambda name: None
        self._names: dict[str, str] = {}

    @staticmethod
    def _serialize_value_for_key(value: Any) -> Any:
        """An input artifact counts by its digest alone: the same bytes from another run are the same input."""
        if isinstance(value, dsl.Artifact) and "digest" in value.metadata:
            return {"digest": value.metadata["digest"]}
        if isinstance(value, list):
            return [VerifiedCache._serialize_value_for_key(item) for item in value]
        if isinstance(value, dict):
            return {name: VerifiedCache._serialize_value_for_key(item) for name, item in value.items()}
        return cache.LocalCache._serialize_value_for_key(value)

    def compute_key(self, component_name: str, image: str, full_command: list[str], arguments: dict[str, Any], **more: Any) -> str:  # type: ignore[override]
        key = super().compute_key(component_name, image, full_command, arguments, **more)
        task = arguments.get("task")
        self._names[key] = component_name.removeprefix("comp-").removesuffix("-component") + (f" {task}" if task else "")
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """The cached outputs, or None when one of them is gone or no longer has the bytes that its digest promises."""
        outputs = super().get(key)
        if outputs is None or not all(_intact(value) for value in outputs.values()):
            return None
        self.hits.append(self._names[key])
        self.on_hit(self._names[key])
        self.outputs[self._names[key]] = outputs
        return outputs

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        self.outputs[self._names[key]] = outputs
        super().put(key, outputs)


def _intact(output: Any) -> bool:
    if isinstance(output, list):
        return all(_intact(item) for item in output)
    if not isinstance(output, dsl.Artifact) or "digest" not in output.metadata:
        return True
    return sha256_folder(Path(output.path)) == output.metadata["digest"]


def install(root: Path) -> VerifiedCache:
    """Makes kfp.local use a `VerifiedCache` under `root`."""
    verified = VerifiedCache(str(root))
    cache.get_local_cache = lambda: verified
    return verified
