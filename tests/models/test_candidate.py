"""A candidate is one bundle a task, each the one that its record names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from goodsight.errors import InputError, IntegrityError
from models.bundle import Bundle, verify
from models.candidate import assemble, load_candidate
from models.config import TASKS
from tests.models.made import CATEGORIES, preprocess, tiny_model


def bundle(task: str, seed: int) -> Bundle:
    labels = list(CATEGORIES) if task == "categorize" else []
    return Bundle(tiny_model(seed, classes=len(labels)), preprocess(), task, labels, {"snapshot": "s" * 64})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved bundles: one a task, and `other`, another one for `retrieve`."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {"categorize": bundle("categorize", 1), "retrieve": bundle("retrieve", 2), "other": bundle("retrieve", 3)}
    for name, one in made.items():
        one.save(folder / name)
    return {name: folder / name for name in made}


@pytest.fixture
def candidate(bundles: dict[str, Path], tmp_path: Path) -> Path:
    assemble([bundles[task] for task in TASKS], tmp_path / "candidate")
    return tmp_path / "candidate"


def test_the_bundles_come_back_by_task(bundles: dict[str, Path], candidate: Path) -> None:
    loaded = load_candidate(candidate)
    assert {task: one.digest for task, one in loaded.bundles.items()} == {task: verify(bundles[task]) for task in TASKS}
    record = json.loads((candidate / "candidate.json").read_text())
    assert loaded.digest == record["digest"]
    assert record["bundles"] == {task: verify(bundles[task]) for task in TASKS}
    assert (record["architecture"], record["size"], record["snapshot"]) == ("commercemm", "tiny", "s" * 64)
    with torch.inference_mode():
        batch = loaded.bundles["retrieve"].preprocess.batch([None], ["red sofa"])
        assert torch.equal(loaded.bundles["retrieve"].model.embed(batch), Bundle.load(bundles["retrieve"]).model.embed(batch))


def test_the_digest_is_of_the_bundles_in_any_order(bundles: dict[str, Path], candidate: Path, tmp_path: Path) -> None:
    digest = json.loads((candidate / "candidate.json").read_text())["digest"]
    assert assemble([bundles["retrieve"], bundles["categorize"]], tmp_path / "turned") == digest
    assert assemble([bundles["other"], bundles["categorize"]], tmp_path / "other") != digest


@pytest.mark.parametrize("given", [(), ("categorize",), ("retrieve", "other"), ("categorize", "retrieve", "other")])
def test_a_task_missing_or_twice_is_refused(given: tuple[str, ...], bundles: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one bundle for each"):
        assemble([bundles[name] for name in given], tmp_path / "candidate")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["weights.safetensors", "labels.json", "config.json"])
def test_a_changed_byte_in_a_bundle_is_found(name: str, candidate: Path) -> None:
    path = candidate / "categorize" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=name):
        load_candidate(candidate)


def test_a_changed_bundle_is_never_assembled(bundles: dict[str, Path], tmp_path: Path) -> None:
    harmed = shutil.copytree(bundles["retrieve"], tmp_path / "harmed")
    (harmed / "labels.json").write_text('["x"]')
    with pytest.raises(IntegrityError, match="labels"):
        assemble([bundles["categorize"], harmed], tmp_path / "candidate")
    assert not (tmp_path / "candidate").exists()


def test_a_whole_bundle_that_is_another_one_is_found(bundles: dict[str, Path], candidate: Path) -> None:
    shutil.rmtree(candidate / "retrieve")
    shutil.copytree(bundles["other"], candidate / "retrieve")
    with pytest.raises(IntegrityError, match="retrieve"):
        load_candidate(candidate)


def test_a_digest_that_is_not_of_the_bundles_is_found(candidate: Path) -> None:
    record = json.loads((candidate / "candidate.json").read_text())
    (candidate / "candidate.json").write_text(json.dumps({**record, "digest": "f" * 64}))
    with pytest.raises(IntegrityError, match="does not match its own bundles"):
        load_candidate(candidate)


def test_the_same_bundles_give_the_same_folder(bundles: dict[str, Path], candidate: Path, tmp_path: Path) -> None:
    assemble([bundles[task] for task in TASKS], tmp_path / "again")
    assert (tmp_path / "again" / "candidate.json").read_bytes() == (candidate / "candidate.json").read_bytes()
