"""What one run leaves behind, at size tiny: a candidate, its evaluation, the verdict on it, and the snapshot it names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from goodsight.files import read_json, write_json
from lineage.facts import Facts
from lineage.gate import Policy, decide
from models.bundle import Bundle
from models.candidate import assemble
from models.config import TASKS
from models.costs import measure
from models.evaluate import evaluate
from models.finetune import labels_of
from tests.models.made import SHORT, preprocess, shop, tiny_model
from tests.pipelines.made import some_furniture


@dataclass(frozen=True)
class Run:
    candidate: Path
    evaluation: Path
    verdict: Path
    snapshot: Path

    @property
    def facts(self) -> Facts:
        return Facts.read(self.candidate, self.evaluation, self.verdict, self.snapshot)


def made(folder: Path, seed: int = 1) -> Run:
    """All of it real: bundles, figures over a shop of 160 products (32 held out), the gate's decision, an imported catalogue."""
    run = Run(folder / "candidate", folder / "evaluation", folder / "verdict.json", folder / "snapshot")
    some_furniture(folder / "shop", 20)
    import_catalogue(folder / "shop", run.snapshot)
    digest = Snapshot.open(run.snapshot).digest
    data = shop(count=160)
    provenance = {"snapshot": digest, "parent": "p" * 64, "recipe": asdict(SHORT)}
    labels = labels_of(data)
    bundles = (
        Bundle(tiny_model(seed, len(labels)), preprocess(), "categorize", labels, provenance),
        Bundle(tiny_model(seed + 1), preprocess(), "retrieve", provenance=provenance),
    )
    for bundle in bundles:
        bundle.save(folder / bundle.task)
    assemble([folder / task for task in TASKS], run.candidate)
    candidate = read_json(run.candidate / "candidate.json")["digest"]
    run.evaluation.mkdir()
    found = evaluate(*bundles, data)
    found.costs = measure(run.candidate, run.snapshot)
    digests = {bundle.task: bundle.digest for bundle in bundles}
    found.save(run.evaluation, {"snapshot": digest, "candidate": candidate, "bundles": digests})
    write_json(run.verdict, decide(run.evaluation, None, Policy.load()))
    return run
