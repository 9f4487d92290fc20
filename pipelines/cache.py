"""The cache of kfp.local, made to trust content: keys see digests instead of paths, and a hit re-checks the cached bytes.

What every step was asked with, and how the cache answered, is kept beside the run (`runs/<id>/asked.json`), and who made an entry
beside the entry (`cache/made/<key>.json`): `goodsight runs why-cached` and `why-run` tell from them (`pipelines.reasons`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kfp import dsl
from kfp.local import cache

from goodsight.digests import sha256_folder, sha256_json
from goodsight.errors import GoodsightError
from goodsight.files import read_json, write_json
from goodsight.settings import RUN_ID

SHOWN = 80  # characters of a value that is kept as it is; of a longer one its digest is kept
MADE = "made"
Outcome = Literal["hit", "absent", "gone", "altered"]


@dataclass
class Asked:
    """What a step was asked with and how the cache answered: `gone` and `altered` name outputs that an entry had once."""

    step: str
    key: str
    parts: dict[str, Any]
    outcome: Outcome = "absent"
    outputs: list[str] = field(default_factory=list)  # those that were altered
    made: dict[str, str] = field(default_factory=dict)  # run_id and time of who made the entry


class VerifiedCache(cache.LocalCache):
    """Used in place of kfp's own; `hits` names the steps answered from it, `outputs` holds what every step gave."""

    def __init__(self, cache_root: str, record: Path | None = None) -> None:
        """`record` is the file that keeps what was asked."""
        super().__init__(cache_root)
        self.hits: list[str] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self.on_hit: Callable[[str], None] = lambda name: None
        self.on_miss: Callable[[str], None] = lambda name: None
        self.asked: dict[str, Asked] = {}
        self._record = record

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
        name = component_name.removeprefix("comp-").removesuffix("-component") + (f" {task}" if task else "")
        told = {argument: _told(value) for argument, value in arguments.items()}
        parts = {"image": image, "command": sha256_json(full_command), "environment": more.get("env_vars") or {}, "arguments": told}
        self.asked[key] = Asked(name, key, parts)
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """The cached outputs, or None when one of them is gone or no longer has the bytes that its digest promises."""
        outputs, asked = super().get(key), self.asked[key]
        asked.made = self._made(key)
        asked.outputs = [name for name, value in (outputs or {}).items() if not _intact(value)]
        if outputs is None:
            asked.outcome = "gone" if Path(self._entry_path(key)).exists() else "absent"
        else:
            asked.outcome = "altered" if asked.outputs else "hit"
        self._keep()
        if outputs is None or asked.outputs:
            self.on_miss(asked.step)
            return None
        self.hits.append(asked.step)
        self.outputs[asked.step] = outputs
        self.on_hit(asked.step)
        return outputs

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        self.outputs[self.asked[key].step] = outputs
        super().put(key, outputs)
        made = {"run_id": os.environ.get(RUN_ID, ""), "time": datetime.now(UTC).isoformat(timespec="seconds")}
        with contextlib.suppress(OSError):
            write_json(self._place(key), made)

    def _place(self, key: str) -> Path:
        return Path(self.cache_root) / MADE / f"{key}.json"

    def _made(self, key: str) -> dict[str, str]:
        try:
            return dict(read_json(self._place(key)))
        except GoodsightError:
            return {}

    def _keep(self) -> None:
        """A record that cannot be written stops no run."""
        if self._record:
            with contextlib.suppress(OSError):
                write_json(self._record, [asdict(asked) for asked in self.asked.values()])


def _told(value: Any) -> Any:
    """A value as it is kept: an artifact by its digest and by the step that made it, a long text by its digest."""
    if isinstance(value, dsl.Artifact):
        return {"digest": value.metadata.get("digest", ""), "from": value.metadata.get("dataset", value.name)}
    if isinstance(value, list):
        return [_told(item) for item in value]
    if isinstance(value, str) and len(value) > SHOWN:
        return {"sha256": sha256_json(value), "characters": len(value)}
    return value


def _intact(output: Any) -> bool:
    if isinstance(output, list):
        return all(_intact(item) for item in output)
    if not isinstance(output, dsl.Artifact) or "digest" not in output.metadata:
        return True
    return sha256_folder(Path(output.path)) == output.metadata["digest"]


def install(root: Path, record: Path | None = None) -> VerifiedCache:
    """Makes kfp.local use a `VerifiedCache` under `root`."""
    verified = VerifiedCache(str(root), record)
    cache.get_local_cache = lambda: verified
    return verified
