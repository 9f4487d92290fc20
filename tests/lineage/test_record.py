"""What the ledger is told of by itself, and by which digests it is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file
from goodsight.settings import settings
from lineage import record
from lineage.ledger import Event, Ledger


def events() -> list[Event]:
    return Ledger(settings().ledger_url).events()


def version(digest: str, parent: str | None = None, name: str = "shop") -> dict[str, Any]:
    counts = {"products": 3}
    return {"name": name, "revision": f"{name}-{digest[:12]}", "digest": digest, "parent": parent, "source": "data/shop", "counts": counts}


def test_a_version_is_told_once_and_again_when_it_comes_back() -> None:
    first, second, other = version("a" * 64), version("b" * 64, parent="a" * 64), version("c" * 64, name="garden")
    for each, how in ((first, "import"), (other, "import"), (first, "import"), (second, "update"), (first, "import")):
        record.snapshot(each, how, "Ada")
    told = [(event.payload["digest"][0], event.payload["how"]) for event in events()]
    assert told == [("a", "import"), ("c", "import"), ("b", "update"), ("a", "import")]
    assert [event.subjects for event in events()][:3] == [["a" * 64], ["c" * 64], ["b" * 64, "a" * 64]]
    assert events()[2].payload["counts"] == {"products": 3} and events()[2].payload["parent"] == "a" * 64


def test_a_verdict_is_found_by_every_digest_that_it_is_about(tmp_path: Path) -> None:
    parts = {name: {"digest": f"{name[:2]}d", "snapshot": "s", "evaluation": f"{name[:2]}e"} for name in ("candidate", "champion")}
    checks = [{"id": "map/floor", "pass": False, "override": None}, {"id": "map/margin", "pass": True, "override": {"by": "Ada"}}]
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps({"decision": "reject", "policy": "p", "checks": checks, **parts}))
    record.verdict(path, "pipeline")
    path.write_text(json.dumps({"decision": "promote", "policy": "p", "checks": checks[1:], **parts, "champion": None}))
    record.verdict(path, "pipeline")
    rejected, promoted = events()
    assert set(rejected.subjects) >= {"p", "s", "cad", "cae", "chd", "che"} and rejected.payload["failed"] == ["map/floor"]
    assert promoted.subjects == [sha256_file(path), "p", "cad", "cae", "s"] and promoted.payload["failed"] == []
    assert rejected.payload["overridden"] == promoted.payload["overridden"] == ["map/margin"]
    assert (promoted.payload["decision"], promoted.payload["champion"]) == ("promote", None)


def test_a_run_that_knew_nothing_yet_is_told_all_the_same() -> None:
    record.run("FAILED", "20260501T000000-1", "", "no such folder", [None])
    [event] = events()
    assert (event.kind, event.actor, event.subjects, event.payload["cause"]) == ("run", "pipeline", [], "no such folder")
