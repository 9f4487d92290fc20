"""Registration: one signed folder a version, which MLflow keeps and which is served; signed again when its key is withdrawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogue.importer import import_catalogue
from components.steps import register as step
from goodsight.digests import sha256_folder
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, write_json
from lineage import keys, registry
from lineage.signing import SIGNATURE, verify
from tests.pipelines.made import some_furniture


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("register")
    some_furniture(folder / "shop", 5)
    import_catalogue(folder / "shop", folder / "snapshot")
    return folder / "snapshot"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """What the steps before leave: `candidate`, `evaluation`, `verdict.json` and `plots`."""
    (tmp_path / "candidate" / "retrieve").mkdir(parents=True)
    (tmp_path / "candidate" / "retrieve" / "weights.safetensors").write_bytes(b"weights")
    write_json(tmp_path / "candidate" / "candidate.json", {"digest": "c" * 64, "architecture": "commercemm"})
    write_json(tmp_path / "evaluation" / "metrics.json", {"metrics": {"leaf_accuracy": 0.5}, "baselines": {}})
    write_json(tmp_path / "verdict.json", {"decision": "promote"})
    (tmp_path / "plots").mkdir()
    return tmp_path


def register(work: Path, snapshot: Path, out: str = "registered") -> str:
    inputs = (work / "candidate", work / "evaluation", work / "verdict.json", work / "plots", snapshot)
    return step.register(*inputs, "shop-1", {"seed": 17}, work / out)


def test_a_version_is_one_signed_folder(work: Path, snapshot: Path) -> None:
    before = sha256_folder(work / "candidate")
    version = register(work, snapshot)
    names = {path.relative_to(work / "registered").as_posix() for path in (work / "registered").rglob("*") if path.is_file()}
    assert names == {"candidate.json", "retrieve/weights.safetensors", "evaluation.json", "verdict.json", SIGNATURE}
    assert read_json(work / "registered" / "evaluation.json")["metrics"] == {"leaf_accuracy": 0.5}
    assert verify(work / "registered") == verify(registry.candidate_folder(version)) == keys.current()
    assert sha256_folder(registry.candidate_folder(version)) == sha256_folder(work / "registered")
    assert sha256_folder(work / "candidate") == before


def test_documents_are_signed_too(work: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "documents", lambda folder: (folder / "card.md").write_text("# A model"))
    register(work, snapshot)
    (work / "registered" / "card.md").write_text("# A better model")
    with pytest.raises(IntegrityError, match=r"card\.md is not as it was signed"):
        verify(work / "registered")


def test_a_candidate_that_is_registered_keeps_its_folder(work: Path, snapshot: Path) -> None:
    versions = [register(work, snapshot), register(work, snapshot, "again")]
    assert versions == ["1", "1"]
    assert sha256_folder(work / "again") == sha256_folder(work / "registered")


def test_what_a_withdrawn_key_signed_is_signed_again(work: Path, snapshot: Path) -> None:
    register(work, snapshot)
    old = keys.current()
    keys.rotate()
    keys.distrust(old)
    with pytest.raises(IntegrityError, match="is by the key"):
        verify(registry.candidate_folder("1"))
    assert register(work, snapshot, "again") == "1"
    assert verify(registry.candidate_folder("1")) == verify(work / "again") == keys.current()


def test_another_candidate_does_not_take_the_place_of_a_version(work: Path, snapshot: Path) -> None:
    register(work, snapshot)
    write_json(work / "candidate" / "candidate.json", {"digest": "d" * 64, "architecture": "commercemm"})
    with pytest.raises(InputError, match="not that of version 1"):
        registry.replace_candidate("1", work / "candidate")
