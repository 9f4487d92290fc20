"""A home with all that an audit looks at: two versions of a shop, a signed model with its index, a ledger and answers."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalogue import trace
from catalogue.versions import import_version
from goodsight.digests import sha256_file, sha256_files, sha256_folder, sha256_json
from goodsight.files import read_json, write_bytes, write_json
from goodsight.settings import settings
from lineage.ledger import Ledger
from lineage.predictions import Prediction, PredictionLog, new_id, now
from lineage.signing import sign
from tests.catalogue.made import write_lines

VALIDATED = sha256_json("the snapshot that validation let through")
CODE = sha256_json("the code of the steps")
COMMIT = "c0ffee" * 6 + "c0ff"
SOFA = "sofa-1"
LARGE = 2**14  # bytes; what the tests take for a large file


@dataclass(frozen=True)
class Audited:
    """The home, and the names of what is in it."""

    home: Path
    revision: str
    raw: str
    candidate: str
    index: str
    verdict: str
    prediction: str
    registered: Path
    served: Path

    @property
    def weights(self) -> Path:
        return self.registered / "retrieve" / "weights.safetensors"


def _shop(folder: Path, count: int) -> Path:
    rows = [{"id": f"sofa-{n}", "title": f"Sofa {n}", "category_path": ["Sofas"], "licence": "CC0-1.0"} for n in range(count)]
    folder.mkdir(parents=True)
    write_lines(folder / "products.jsonl", rows)
    return folder


def _bundle(folder: Path, task: str) -> str:
    write_json(folder / "config.json", {"task": task})
    write_json(folder / "preprocess.json", {"digest": sha256_json("preprocessing")})
    write_json(folder / "provenance.json", {"snapshot": VALIDATED, "code": CODE, "recipe": {"steps": 3}})
    write_bytes(folder / "weights.safetensors", random.Random(task).randbytes(LARGE + 1))
    files = sha256_files(folder)
    write_json(folder / "manifest.json", {"digest": sha256_json(files), "files": files})
    return sha256_json(files)


def _registered(artifacts: Path) -> tuple[str, str]:
    """Writes what a registration keeps; returns the digests of candidate and verdict."""
    folder = artifacts / "candidate"
    bundles = {task: _bundle(folder / task, task) for task in ("categorize", "retrieve")}
    candidate = sha256_json(bundles)
    write_json(folder / "candidate.json", {"digest": candidate, "bundles": bundles, "architecture": "eclip", "snapshot": VALIDATED})
    write_json(artifacts / "evaluation" / "metrics.json", {"metrics": {"leaf_accuracy": 0.9}, "candidate": candidate})
    judged = {"digest": candidate, "evaluation": sha256_folder(artifacts / "evaluation")}
    checks = [
        {"id": "leaf_accuracy/floor", "metric": "leaf_accuracy", "name": "floor", "pass": True},
        {"id": "map/floor", "metric": "map", "name": "floor", "pass": True, "override": {"by": "Ada", "reason": "<b>new</b> shelf"}},
    ]
    verdict = {"decision": "promote", "policy": "f" * 64, "candidate": judged, "champion": None, "checks": checks}
    write_json(folder / "verdict.json", verdict)
    write_bytes(folder / "environment.txt", b"python==3.11.7\nnumpy==2.4.0\n")
    used = [
        {"name": "environment.txt", "digest": {"sha256": sha256_file(folder / "environment.txt")}},
        {"name": "source", "digest": {"gitCommit": COMMIT}, "annotations": {"dirty": False}},
    ]
    write_json(folder / "provenance.intoto.json", {"predicate": {"buildDefinition": {"resolvedDependencies": used}}})
    write_bytes(folder / "card.md", b"# A model card\n")
    sign(folder)
    return candidate, sha256_file(folder / "verdict.json")


def _index(folder: Path, candidate: str, bundle: str) -> str:
    write_bytes(folder / "vectors.faiss", b"vectors" * 1000)
    record = {"candidate": candidate, "bundle": bundle, "snapshot": VALIDATED, "kind": "flat", "dimension": 8, "count": 7}
    record["files"] = {"vectors.faiss": sha256_file(folder / "vectors.faiss")}
    write_json(folder / "index.json", {**record, "digest": sha256_json(record)})
    sign(folder)
    return sha256_json(record)


def _events(made: Audited) -> None:
    ledger = Ledger(settings().ledger_url)
    deployed = {"version": "1", "candidate": made.candidate, "index": made.index, "previous": None, "reason": "promoted by the gate"}
    raw = {"name": "shop", "revision": made.revision, "digest": made.raw, "parent": None, "how": "import"}
    let_through = {"raw_digest": made.raw, "digest": VALIDATED, "decision": "passed", "kept": 7, "quarantined": 1}
    decided = {"decision": "promote", "verdict": made.verdict, "policy": "f" * 64}
    facts = {"version": "1", "candidate": made.candidate, "snapshot": VALIDATED, "revision": made.revision, "verdict": made.verdict}
    moved = {"alias": "champion", "version": "1", "previous": None, "reason": "promoted by the gate"}
    steps = {"pretrain": 12.5, "gate": 0.5}
    ran = {"run_id": "run-1", "revision": made.revision, "state": "SUCCEEDED", "seconds": 14.0, "steps": steps, "version": "1"}
    passed_over = {"check": "map/floor", "candidate": made.candidate, "reason": "<b>new</b> shelf", "until": "2030-01-01"}
    ledger.append("snapshot", "ada", [made.raw], raw)
    ledger.append("validation", "pipeline", [made.raw, VALIDATED], let_through)
    ledger.append("override", "Ada", [made.candidate], passed_over)
    ledger.append("verdict", "pipeline", [made.verdict, "f" * 64, made.candidate], decided)
    ledger.append("registration", "pipeline", [made.candidate, VALIDATED, made.verdict], facts)
    ledger.append("deploy", "pipeline", [made.candidate, made.index], deployed)
    ledger.append("alias_move", "pipeline", [made.candidate], moved)
    ledger.append("run", "pipeline", [VALIDATED, made.candidate], ran)


def answer(made: Audited, **changes: Any) -> Prediction:
    """The answer to a search by the served model."""
    usual = Prediction(
        id=new_id(),
        time=now(),
        task="search",
        modalities=("text",),
        model_version="1",
        candidate=made.candidate,
        index=made.index,
        features="goodsight-1",
        input="a" * 64,
        k=2,
        results=[(SOFA, 0.9), ("sofa-<2>", 0.8)],
        latency_ms=12.5,
        status="ok",
    )
    return replace(usual, **changes)


def make(work: Path) -> Audited:
    """Makes everything in `settings().root`; `work` is for what is thrown away."""
    home = settings().root
    revision = import_version(_shop(work / "first", 8), "shop", home)
    import_version(_shop(work / "second", 6), "shop", home)
    [version] = trace.versions(home, revision)
    artifacts = home / "mlartifacts" / "run" / "artifacts"
    candidate, verdict = _registered(artifacts)
    served = home / "serving" / "store" / "goodsight-1"
    index = _index(served / "index", candidate, read_json(artifacts / "candidate" / "candidate.json")["bundles"]["retrieve"])
    shutil.copytree(artifacts / "candidate", served / "candidate")
    features = home / "serving" / "features" / "goodsight-1"
    write_bytes(features / "feature_store.yaml", f"project: goodsight_{index[:12]}\nprovider: local\n".encode())
    write_bytes(features / "registry.db", b"registry")
    made = Audited(home, revision, version.digest, candidate, index, verdict, new_id(), artifacts / "candidate", served)
    _events(made)
    log = PredictionLog(settings().predictions_url)
    for row in (answer(made, id=made.prediction), answer(made, results=[("sofa-3", 0.7)]), answer(made, task="categorize")):
        log.log(row)
    assert log.flush()
    return made


def flip(path: Path, place: int = 0) -> None:
    """One bit of a file is another."""
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)
