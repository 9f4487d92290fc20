"""Digests change with every byte and every name, and with the code that a step runs, and with nothing else."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import goodsight.digests
from goodsight.digests import (
    canonical_json,
    code_digest,
    code_files,
    sha256_bytes,
    sha256_file,
    sha256_folder,
    sha256_json,
)

NAMES = st.sampled_from(["a", "b", "c/d", "c/e", ".hidden", "é"])
TREES = st.dictionaries(NAMES, st.binary(max_size=8), max_size=6)


def written(folder: Path, tree: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in tree.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@given(one=TREES, other=TREES)
def test_a_folder_digest_is_of_names_and_bytes(
    one: dict[str, bytes], other: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("trees")
    same = sha256_folder(written(place / "one", one)) == sha256_folder(written(place / "other", other))
    assert same == (one == other)


@given(tree=TREES.filter(bool), data=st.data())
def test_any_changed_byte_or_name_changes_the_folder(
    tree: dict[str, bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = written(tmp_path_factory.mktemp("tree") / "tree", tree)
    before = sha256_folder(folder)
    name = data.draw(st.sampled_from(sorted(tree)))
    content = bytearray(tree[name])
    if content:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        (folder / name).write_bytes(content)
        assert sha256_folder(folder) != before
        (folder / name).write_bytes(tree[name])
    (folder / name).rename(folder / "renamed")
    assert sha256_folder(folder) != before
    (folder / "renamed").rename(folder / name)
    assert sha256_folder(folder) == before


def test_times_and_modes_do_not_count(tmp_path: Path) -> None:
    folder = written(tmp_path / "tree", {"a": b"1", "c/d": b"2"})
    before = sha256_folder(folder)
    os.utime(folder / "a", (1, 1))
    (folder / "a").chmod(0o600)
    assert sha256_folder(folder) == before


def test_a_single_file_is_digested_as_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert (
        sha256_folder(tmp_path / "file")
        == sha256_file(tmp_path / "file")
        == sha256_bytes(b"abc")
        == sha256(b"abc").hexdigest()
    )


def test_equal_json_values_have_one_text() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house of four rooms: `models.deep` is imported inside a function, `serving` by nobody."""
    files = {
        "goodsight/__init__.py": "",
        "goodsight/files.py": "import json",
        "models/__init__.py": "",
        "models/train.py": "from goodsight import files\n\ndef run():\n    from models.deep import thing\n",
        "models/deep.py": "import models.deeper as other\nthing = 1",
        "models/deeper.py": "thing = 2",
        "models/alone.py": "",
        "models/rules/suite.json": "{}",
        "models/policy.yaml": "a: 1",
        "serving/__init__.py": "",
        "serving/serve.py": "",
        "serving/rules.yaml": "a: 1",
        "tools/train.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(goodsight.digests, "HOUSE", tmp_path)
    return tmp_path


def test_the_code_of_a_module_is_all_that_it_imports(house: Path) -> None:
    assert list(code_files("models.train")) == [
        "goodsight", "goodsight.files", "models", "models.deep", "models.deeper", "models.train",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "goodsight/files.py",
        "models/__init__.py",
        "models/train.py",
        "models/deeper.py",
        "models/policy.yaml",
        "models/rules/suite.json",
    ],
)
def test_the_code_digest_changes_with_what_is_imported(house: Path, name: str) -> None:
    before = code_digest("models.train")
    (house / name).write_text((house / name).read_text() + "\n# another line")
    assert code_digest("models.train") != before


@pytest.mark.parametrize(
    "name", ["serving/serve.py", "serving/rules.yaml", "models/alone.py", "tools/train.py", "models/notes.txt"]
)
def test_the_code_digest_ignores_what_is_not_imported(house: Path, name: str) -> None:
    before = code_digest("models.train")
    (house / name).write_text("# another line")
    assert code_digest("models.train") == before


def test_the_code_of_our_own_steps_reaches_the_kernel() -> None:
    found = code_files("components.steps.pretrain")
    assert {
        "components.steps.pretrain",
        "models.pretraining.commercemm",
        "models.towers",
        "catalogue.media",
        "goodsight.files",
    } <= found.keys()
    assert not [name for name in found if name.startswith(("pipelines", "serving", "lineage"))]
