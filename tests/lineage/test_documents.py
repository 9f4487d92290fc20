"""The documents of a registered model, on a real candidate: whole, of one another, and the provenance covers every file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

from goodsight.digests import sha256_files
from goodsight.errors import InputError, IntegrityError
from lineage.documents import Build, write_documents
from lineage.environment import checkout, environment
from lineage.provenance import provenance
from tests.lineage.made import Run

BUILD = Build(
    revision="shop-0123456789ab",
    params={"architecture": "commercemm", "size": "tiny", "seed": 17},
    run_id="20261126T080000-7",
    code="c" * 64,
)
DOCUMENTS = {"card.md", "mlbom.cdx.json", "environment.txt", "provenance.intoto.json"}


@pytest.fixture(scope="module")
def folder(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the register step has it: the candidate, its figures and its verdict in one folder."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.copytree(finished.candidate, folder, dirs_exist_ok=True)
    shutil.copy(finished.evaluation / "metrics.json", folder / "evaluation.json")
    shutil.copy(finished.verdict, folder / "verdict.json")
    write_documents(folder, finished.evaluation, finished.verdict, finished.snapshot, BUILD)
    return folder


@pytest.fixture(scope="module")
def statement(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.intoto.json").read_text())


def test_the_statement_covers_every_other_file(folder: Path, statement: dict[str, Any]) -> None:
    subjects = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    files = sha256_files(folder)
    assert files.keys() >= DOCUMENTS
    assert subjects == {name: digest for name, digest in files.items() if name != "provenance.intoto.json"}
    assert {"verdict.json", "evaluation.json", "categorize/weights.safetensors", "mlbom.cdx.json"} <= subjects.keys()


def test_in_toto_and_slsa_read_it(statement: dict[str, Any]) -> None:
    read = json_format.ParseDict(statement, statement_pb2.Statement())
    Statement.copy_from_pb(read).validate()
    told = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert told.build_definition.build_type == "urn:goodsight:retrain:v1"
    assert told.run_details.metadata.invocation_id == BUILD.run_id


def test_what_was_asked_for_and_all_that_went_in_is_named(finished: Run, folder: Path, statement: dict[str, Any]) -> None:
    definition = statement["predicate"]["buildDefinition"]
    policy = json.loads(finished.verdict.read_text())["policy"]
    asked = {"revision": BUILD.revision, "architecture": "commercemm", "size": "tiny", "seed": 17, "policy": policy}
    assert definition["externalParameters"] == asked
    assert definition["internalParameters"]["recipes"]["retrieve"]["steps"] == 6
    inputs = {each["name"]: each for each in definition["resolvedDependencies"]}
    assert inputs["snapshot"]["digest"]["sha256"] == finished.facts.manifest["digest"]
    assert inputs["steps"]["digest"]["sha256"] == BUILD.code
    assert inputs["environment.txt"]["digest"]["sha256"] == sha256_files(folder)["environment.txt"] == environment()[0]
    assert len(inputs["requirements.lock"]["digest"]["sha256"]) == 64
    source = checkout()
    assert ("source" in inputs) is (source is not None)
    if source:
        assert inputs["source"]["digest"] == {"gitCommit": source.commit}


def test_written_again_they_are_the_same(finished: Run, folder: Path) -> None:
    before = sha256_files(folder)
    write_documents(folder, finished.evaluation, finished.verdict, finished.snapshot, BUILD)
    assert sha256_files(folder) == before


def test_nothing_is_written_about_parts_of_different_runs(finished: Run, tmp_path: Path) -> None:
    folder, verdict = tmp_path / "registered", tmp_path / "verdict.json"
    shutil.copytree(finished.candidate, folder)
    verdict.write_text(json.dumps({**json.loads(finished.verdict.read_text()), "candidate": {"digest": "0" * 64}}))
    with pytest.raises(IntegrityError, match="verdict is on the candidate"):
        write_documents(folder, finished.evaluation, verdict, finished.snapshot, BUILD)
    assert not DOCUMENTS & sha256_files(folder).keys()


def test_no_statement_is_made_of_no_file(finished: Run) -> None:
    with pytest.raises(InputError, match="No provenance can be stated"):
        provenance(finished.facts, BUILD, {}, "e" * 64)
