"""A home that a controller watches, as its tests need it: small versions of a catalogue, and a program in the place of `goodsight run`.

The program is a run as far as a controller can tell: it holds the run's lock, keeps its state file and tells the ledger its end, all
by the code of a real run; instead of the pipeline it waits for WATCHED_SECONDS, and the gate says no.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from catalogue.versions import describe, import_version
from goodsight.settings import settings
from lineage import record
from tests.pipelines.made import some_furniture, write_products

POLICY = """
every_minutes: 0.01
run: {size: tiny}
triggers: {new-data: {kind: snapshot, changed: 0.05}}
cool_down: {hours: 0, after_rejection_hours: 0}
retries: {most: 100, first_minutes: 0, factor: 1}
"""
COMMAND = [sys.executable, "-m", "tests.pipelines.watched"]


def policy_file(folder: Path, text: str = POLICY) -> Path:
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


class Shop:
    """A small catalogue whose versions are kept in home; each changes every product of the one before."""

    def __init__(self, folder: Path, versions: int = 1) -> None:
        folder.mkdir()
        self._folder, self._records = folder, some_furniture(folder, 8)
        self.revisions: list[str] = []
        for _ in range(versions):
            self.add()

    def add(self) -> str:
        number = len(self.revisions)
        write_products(self._folder, [{**each, "title": f"{each['title']} {number}"} for each in self._records])
        self.revisions.append(import_version(self._folder, "shop", settings().root))
        record.snapshot(describe(self.revisions[-1], settings().root), "import", "test")
        return self.revisions[-1]


def promoted(revision: str, version: str = "1", candidate: str = "c" * 64) -> None:
    """What the ledger has once a version that learned from `revision` is champion."""
    from lineage.ledger import Ledger

    ledger = Ledger(settings().ledger_url)
    ledger.append("registration", "test", [candidate], {"version": version, "revision": revision, "candidate": candidate})
    moves = ledger.events("alias_move")
    payload = {"alias": "champion", "model": "goodsight", "version": version, "previous": None, "reason": "test"}
    ledger.append("alias_move", "test", [candidate], payload, expect=moves[-1].seq if moves else 0)


def main(arguments: list[str]) -> None:
    """The program: `--run-id ID --revision REVISION ...`."""
    from goodsight.files import exclusive
    from lineage import runs
    from pipelines.live import Live, before, stoppable

    run_id, revision = (arguments[arguments.index(name) + 1] for name in ("--run-id", "--revision"))
    root, url = settings().root, settings().ledger_url
    with exclusive(root / "run.lock", "A run"), stoppable(), runs.living(runs.folder(root, run_id)):
        last = before(run_id, root, url)
        live = Live(run_id, root, {"revision": revision, "architecture": "commercemm", "size": "tiny", "seed": 17}, last)
        live.know(revision=revision)
        with open(root / "trained", "a", encoding="utf-8") as file:
            file.write(f"{run_id} {revision} {os.getpid()}\n")
        time.sleep(float(os.environ.get("WATCHED_SECONDS", "0")))
        told = {"data_verdict": "passed", "verdict": "reject"}
        record.run("SUCCEEDED", run_id, revision, "", **told)
        live.ended("SUCCEEDED", "", **told)


if __name__ == "__main__":
    main(sys.argv[1:])
