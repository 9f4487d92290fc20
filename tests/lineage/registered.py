"""What the steps before registration leave behind, in a few bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lineage import registry

SNAPSHOT = {"name": "furniture", "digest": "5" * 64, "source": "data/furniture"}
FIGURES = {"metrics": {"query_to_product_recall@1": 0.75, "leaf_accuracy": 0.5}, "baselines": {"tfidf": 0.25}}


def write_work(folder: Path, names: str = "ab") -> Path:
    """Writes candidates of one letter, with an index each (`index-a`), `evaluation`, `plots` and `verdict.json` to `folder`."""
    for name in names:
        (folder / name / "retrieve").mkdir(parents=True)
        (folder / name / "retrieve" / "weights.safetensors").write_text(name)
        (folder / name / "retrieve" / "provenance.json").write_text(json.dumps({"code": name}))
        described = {"digest": name * 64, "bundles": {"retrieve": name * 64}, "snapshot": "5" * 64, "architecture": "commercemm"}
        (folder / name / "candidate.json").write_text(json.dumps(described))
        (folder / f"index-{name}").mkdir()
        (folder / f"index-{name}" / "index.json").write_text(json.dumps({"digest": name.upper() * 64}))
    for name, file, text in (("evaluation", "metrics.json", json.dumps(FIGURES)), ("plots", "confusion.png", "png")):
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    (folder / "verdict.json").write_text('{"decision": "promote"}')
    return folder


def register(work: Path, name: str, **params: Any) -> str:
    """Registers one of the candidates and returns its version."""
    folders = {"candidate": work / name, "evaluation": work / "evaluation", "plots": work / "plots"}
    verdict, run_name = work / "verdict.json", f"run of {name}"
    return registry.register(verdict=verdict, snapshot=SNAPSHOT, params=params, run_name=run_name, **folders)
