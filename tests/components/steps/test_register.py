"""Registration: one signed folder a version, which MLflow keeps and which is served; signed again when its key is withdrawn."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from components.steps import register as step
from goodsight.digests import sha256_files, sha256_folder
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage import keys, registry
from lineage.ledger import Ledger
from lineage.signing import SIGNATURE, verify
from tests.lineage.made import Run, made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("register"))


@pytest.fixture
def work(run: Run, tmp_path: Path) -> Run:
    """What the steps before leave, to be changed."""
    shutil.copytree(run.candidate, tmp_path / "candidate")
    return replace(run, candidate=tmp_path / "candidate")


def register(work: Run, out: str = "registered") -> str:
    (work.candidate.parent / "plots").mkdir(exist_ok=True)
    inputs = (work.candidate, work.evaluation, work.verdict, work.candidate.parent / "plots", work.snapshot)
    return step.register(*inputs, "shop-1", {"seed": 17}, "c" * 64, work.candidate.parent / out)


def test_a_version_is_one_signed_folder(work: Run) -> None:
    before = sha256_folder(work.candidate)
    version = register(work)
    registered = work.candidate.parent / "registered"
    evidence = {"evaluation.json", "verdict.json", "card.md", "mlbom.cdx.json", "provenance.intoto.json", "environment.txt", SIGNATURE}
    assert sha256_files(registered).keys() == sha256_files(work.candidate).keys() | evidence
    assert read_json(registered / "evaluation.json") == read_json(work.evaluation / "metrics.json")
    assert verify(registered) == verify(registry.candidate_folder(version)) == keys.current()
    assert sha256_folder(registry.candidate_folder(version)) == sha256_folder(registered)
    assert sha256_folder(work.candidate) == before


def test_documents_are_of_this_run_and_signed_too(work: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-7")
    register(work)
    predicate = read_json(work.candidate.parent / "registered" / "provenance.intoto.json")["predicate"]
    assert predicate["runDetails"]["metadata"]["invocationId"] == "run-7"
    assert predicate["buildDefinition"]["externalParameters"]["revision"] == "shop-1"
    (work.candidate.parent / "registered" / "card.md").write_text("# A better model")
    with pytest.raises(IntegrityError, match=r"card\.md is not as it was signed"):
        verify(work.candidate.parent / "registered")


def test_a_candidate_that_is_registered_keeps_its_folder(work: Run) -> None:
    versions = [register(work), register(work, "again")]
    assert versions == ["1", "1"]
    assert sha256_folder(work.candidate.parent / "again") == sha256_folder(work.candidate.parent / "registered")


def test_what_a_withdrawn_key_signed_is_signed_again(work: Run) -> None:
    register(work)
    old = keys.current()
    keys.rotate()
    Ledger(settings().ledger_url).append("key", "Ada", [old], {"action": "distrust"})  # first, as the command does
    keys.distrust(old)
    with pytest.raises(IntegrityError, match="is by the key"):
        verify(registry.candidate_folder("1"))
    assert register(work, "again") == "1"
    assert verify(registry.candidate_folder("1")) == verify(work.candidate.parent / "again") == keys.current()


def test_another_candidate_does_not_take_the_place_of_a_version(work: Run) -> None:
    register(work)
    write_json(work.candidate / "candidate.json", {"digest": "d" * 64, "architecture": "commercemm"})
    with pytest.raises(InputError, match="not that of version 1"):
        registry.replace_candidate("1", work.candidate)
