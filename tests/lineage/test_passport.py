"""The passport: complete, each link checked, every harm named, and fast without torch and MLflow."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from goodsight.errors import InputError
from goodsight.files import write_json
from lineage.graph import Passport
from lineage.ledger import Ledger
from lineage.passport import Subject, passport, subject_of
from lineage.predictions import PredictionLog, new_id
from lineage.sources import Sources
from pipelines import passport_command
from tests.lineage.audited import CODE, COMMIT, VALIDATED, Audited, answer, flip

WHOLE = {
    "prediction": "recorded",
    "model": "verified",
    "candidate": "verified",
    "bundle": "verified",
    "preprocessing": "verified",
    "code": "verified",
    "environment": "verified",
    "git commit": "recorded",
    "snapshot": "verified",
    "validation": "verified",
    "revision": "recorded",
    "run": "verified",
    "verdict": "verified",
    "evaluation": "verified",
    "overrides": "verified",
    "deployments": "verified",
    "index": "verified",
    "features": "recorded",
}


@pytest.fixture
def sources(audited: Audited) -> Sources:
    return passport_command.sources(audited.home)


def states(made: Passport) -> dict[str, str]:
    """kind -> state, the worst of a kind."""
    order = ("recorded", "verified", "missing", "altered")
    found: dict[str, str] = {}
    for node in made.nodes.values():
        found[node.kind] = max(found.get(node.kind, "recorded"), node.state, key=order.index)
    return found


def test_an_answer_leads_to_everything_behind_it(audited: Audited, sources: Sources) -> None:
    made = passport(audited.prediction.upper(), sources)
    assert states(made) == WHOLE
    kinds = {node.kind: node for node in made.nodes.values()}
    assert (kinds["candidate"].name, kinds["index"].name, kinds["verdict"].name) == (audited.candidate, audited.index, audited.verdict)
    assert (kinds["code"].name, kinds["git commit"].name, kinds["revision"].name) == (CODE, COMMIT, audited.revision)
    assert {node.name for node in made.nodes.values() if node.kind == "snapshot"} == {VALIDATED, audited.raw}
    assert kinds["prediction"].facts["results"] == [["sofa-1", 0.9], ["sofa-<2>", 0.8]]
    assert [move["what"] for move in kinds["deployments"].facts["moves"]] == ["deploy", "alias_move"]
    assert kinds["verdict"].facts["overridden"] == [{"check": "map/floor", "by": "Ada", "reason": "<b>new</b> shelf"}]
    assert kinds["revision"].facts["git commit"] and "signature by" in kinds["candidate"].how
    assert set(made.nodes) - {made.root} == {edge.target for edge in made.edges}, "every link is tied to another"


def test_a_deep_passport_reads_every_byte(audited: Audited, sources: Sources) -> None:
    made = passport("champion", sources, deep=True)
    told = states(made)
    assert (told["revision"], told["ledger"], made.deep) == ("verified", "verified", True)
    flip(audited.weights, 5)
    assert made.count("altered") == 0 and passport("champion", sources).count("altered") == 0, "large files are read by a deep one alone"
    harmed = passport("champion", sources, deep=True)
    assert "retrieve/weights.safetensors" in harmed.nodes[f"candidate:{audited.candidate}"].how


@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        ("registered/categorize/config.json", "candidate", "categorize/config.json"),
        ("registered/candidate.json", "candidate", "candidate.json"),
        ("registered/model.sig", "candidate", "model.sig"),
        ("registered/verdict.json", "verdict", "verdict.json"),
        ("registered/environment.txt", "environment", "environment.txt"),
        ("registered/../evaluation/metrics.json", "evaluation", "evaluation"),
        ("served/candidate/card.md", "candidate", "card.md"),
        ("served/index/index.json", "index", "index.json"),
        ("served/index/vectors.faiss", "index", "vectors.faiss"),
    ],
)
def test_a_flipped_byte_is_named(audited: Audited, sources: Sources, harm: str, kind: str, words: str) -> None:
    place, _, name = harm.partition("/")
    flip({"registered": audited.registered, "served": audited.served}[place] / name, 20)
    if kind == "environment":
        shutil.copy(audited.registered / name, audited.served / "candidate" / name)
    made = passport(audited.prediction, sources)
    [*_, found] = [node for node in made.nodes.values() if node.kind == kind]
    assert found.state == "altered" and words in found.how


def unsign(folder: Path) -> None:
    (folder / "model.sig").unlink()


def slip_in(folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"pickle")


@pytest.mark.parametrize(("harm", "words"), [(unsign, "is not signed"), (slip_in, "weights.pt was not signed")])
@pytest.mark.parametrize("kind", ["candidate", "index"])
def test_what_is_kept_without_a_signature_is_altered(
    audited: Audited, sources: Sources, kind: str, harm: Callable[[Path], None], words: str
) -> None:
    harm(audited.served / kind)
    [found] = [node for node in passport(audited.prediction, sources).nodes.values() if node.kind == kind]
    assert found.state == "altered" and words in found.how


@pytest.mark.parametrize("number", [2, 4, 5, 6])
def test_an_altered_event_is_named(audited: Audited, sources: Sources, number: int) -> None:
    with sqlite3.connect(audited.home / "ledger.db") as connection:
        connection.execute("UPDATE events SET actor = 'someone else' WHERE seq = ?", (number,))
    connection.close()
    made = passport(audited.prediction, sources)
    assert made.count("altered") and any(f"event {number} " in node.how for node in made.nodes.values() if node.state == "altered")


def test_what_is_gone_is_missing_not_left_out(audited: Audited, sources: Sources) -> None:
    for place in (audited.registered.parent, audited.served, audited.home / "serving", audited.home / "data"):
        shutil.rmtree(place, ignore_errors=True)
    told = states(passport(audited.prediction, sources))
    expected = {"candidate": "missing", "index": "missing", "features": "missing", "evaluation": "missing", "model": "verified"}
    assert {kind: told[kind] for kind in expected} == expected
    (audited.home / "ledger.db").unlink()
    told = states(passport(audited.prediction, sources))
    missing = {"model", "candidate", "run", "verdict", "deployments", "index", "features"}
    assert {kind for kind, state in told.items() if state == "missing"} == missing


def test_an_answer_by_another_candidate_than_the_registered_one_is_altered(audited: Audited, sources: Sources) -> None:
    log, row = PredictionLog(sources.predictions), answer(audited, candidate="d" * 64)
    log.log(row)
    assert log.flush()
    made = passport(row.id, sources)
    assert made.nodes["model:1"].state == "altered" and audited.candidate[:12] in made.nodes["model:1"].how


def test_a_snapshot_leads_to_its_revision_and_to_what_was_erased(audited: Audited, sources: Sources) -> None:
    made = passport(VALIDATED[:10], sources)
    assert [node.kind for node in made.nodes.values()] == ["snapshot", "validation", "snapshot", "revision"]
    assert passport(audited.revision, sources).nodes[f"snapshot:{audited.raw}"].facts["counts"]["products"] == 8
    Ledger(sources.ledger).append("erasure", "ada", [audited.raw], {"product": "mark", "reason": "request 4711"})
    erased = passport(audited.raw, sources).nodes[f"erasure:{audited.raw}"]
    assert [each["reason"] for each in erased.facts["since"]] == ["request 4711"]


def test_what_a_name_means(audited: Audited, sources: Sources) -> None:
    model, raw = Subject("model", "1"), Subject("snapshot", audited.raw)
    assert [subject_of(name, sources) for name in ("1", "champion", audited.candidate, audited.candidate[:8])] == [model] * 4
    assert [subject_of(name, sources) for name in (audited.revision, audited.raw, audited.raw[:8])] == [raw] * 3
    assert subject_of(audited.prediction, sources) == Subject("prediction", audited.prediction)
    for name in ("previous", "nothing", "0" * 12, ""):
        with pytest.raises(InputError):
            subject_of(name, sources)
    for name in ("7", new_id()):
        with pytest.raises(InputError):
            passport(name, sources)


def test_hostile_files_do_not_stop_it(audited: Audited, sources: Sources) -> None:
    for folder in (audited.registered, audited.served / "candidate"):
        for name in ("candidate.json", "verdict.json", "provenance.intoto.json", "categorize/manifest.json", "retrieve/provenance.json"):
            for value in ([1], {"bundles": [1], "checks": [1, {"override": 1}], "predicate": {"buildDefinition": 7}}, {"digest": None}):
                write_json(folder / name, value)
                passport(audited.prediction, sources)
    (audited.served / "index" / "index.json").write_text("[" * 100_000)
    assert states(passport(audited.prediction, sources))["index"] == "altered"


def test_nothing_heavy_is_imported(audited: Audited) -> None:
    heavy = ("torch", "mlflow", "sqlalchemy", "pyarrow", "dvc", "rich", "jinja2", "model_signing", "asyncio")
    code = (
        "import sys\nfrom pipelines.command import app\ntry:\n    app(sys.argv[1:], standalone_mode=False)\n"
        f"finally:\n    print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "GOODSIGHT_HOME": str(audited.home)}
    command = [sys.executable, "-c", code, "audit", "show", audited.prediction]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert f"candidate {audited.candidate[:12]}" in done.stdout and "20 links" in done.stdout
