"""A bundle comes back as it was saved, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models.preprocess
from goodsight.digests import sha256_bytes, sha256_json
from goodsight.errors import GoodsightError, IntegrityError
from goodsight.files import write_json
from models.bundle import Bundle, verify
from tests.models.made import CATEGORIES, preprocess, tiny_model

FILES = (
    "config.json",
    "labels.json",
    "manifest.json",
    "preprocess.json",
    "provenance.json",
    "tokenizer.json",
    "weights.safetensors",
)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    model = tiny_model(classes=len(CATEGORIES))
    return Bundle(model, preprocess(), "categorize", list(CATEGORIES), {"snapshot": "s" * 64})


@pytest.fixture(scope="module")
def saved(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "saved"
    bundle.save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "copy")


@torch.inference_mode()
def test_an_equal_bundle_comes_back(bundle: Bundle, saved: Path) -> None:
    loaded = Bundle.load(saved)
    batch, again = (one.preprocess.batch([None, None], ["red sofa", "a lamp"]) for one in (bundle, loaded))
    assert all(torch.equal(value, again[name]) for name, value in batch.items())
    torch.testing.assert_close(loaded.model.embed(again), bundle.model.embed(batch))
    torch.testing.assert_close(loaded.model.classify(again), bundle.model.classify(batch))
    assert (loaded.task, loaded.labels, loaded.provenance) == (bundle.task, bundle.labels, bundle.provenance)
    assert (loaded.config, loaded.digest) == (bundle.config, bundle.digest)
    assert not loaded.model.training
    assert sorted(path.name for path in saved.iterdir()) == sorted(FILES)


def test_the_same_model_has_the_same_digest(bundle: Bundle, saved: Path, tmp_path: Path) -> None:
    assert bundle.save(tmp_path / "again") == verify(saved)
    assert Bundle.load(saved).save(tmp_path / "loaded") == verify(saved)
    changed = Bundle(bundle.model, bundle.preprocess, bundle.task, bundle.labels[::-1], bundle.provenance)
    assert changed.save(tmp_path / "changed") != verify(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found_and_named(name: str, copy: Path) -> None:
    data = bytearray((copy / name).read_bytes())
    place = data.index(b'"digest": "') + 11 if name == "manifest.json" else len(data) // 2
    data[place] = ord("1") if data[place] == ord("0") else ord("0")
    (copy / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name):
        Bundle.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found_and_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(GoodsightError, match=name):
        Bundle.load(copy)


def test_an_extra_file_is_found_and_named(copy: Path) -> None:
    (copy / "hook.py").write_text("print('hello')")
    with pytest.raises(IntegrityError, match=r"hook\.py"):
        Bundle.load(copy)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_manifest_with_a_flipped_byte_is_refused_or_says_the_same(place: int, flip: int, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    files = {"config.json": sha256_bytes(b"{}")}
    write_json(folder / "manifest.json", {"digest": sha256_json(files), "files": files})
    assert verify(folder) == sha256_json(files)
    data = bytearray((folder / "manifest.json").read_bytes())
    data[place % len(data)] ^= flip
    (folder / "manifest.json").write_bytes(data)
    try:
        assert verify(folder) == sha256_json(files)  # white space
    except GoodsightError as error:
        assert str(folder) in error.message


@pytest.mark.parametrize("manifest", [[], {}, {"digest": "", "files": []}, {"files": {}}, None, "x"])
def test_a_manifest_that_is_none(manifest: object, copy: Path) -> None:
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match=r"\.json is "):
        Bundle.load(copy)


def test_other_preprocessing_code_refuses_the_bundle(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.preprocess, "CODE_VERSION", models.preprocess.CODE_VERSION + 1)
    with pytest.raises(IntegrityError, match="preprocessing"):
        Bundle.load(saved)


def test_a_save_that_fails_leaves_the_old_bundle(saved: Path, copy: Path, bundle: Bundle) -> None:
    broken = Bundle(bundle.model, bundle.preprocess, bundle.task, bundle.labels, {"snapshot": object()})
    with pytest.raises(TypeError):
        broken.save(copy)
    assert verify(copy) == verify(saved)
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
