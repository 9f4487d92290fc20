"""The archive holds everything a worker needs, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from goodsight.digests import sha256_folder
from goodsight.errors import InputError
from goodsight.files import read_json
from serving import handler
from serving.archive import archive_name, build_archive


def test_an_archive_answers_by_itself(made: Any, tmp_path: Path) -> None:
    copied = {name: shutil.copytree(path, tmp_path / name) for name, path in (("c", made.candidate), ("i", made.index))}
    archive = build_archive(copied["c"], copied["i"], "1.2", tmp_path / "a store, with [odd] näme" / "store")
    for folder in copied.values():
        shutil.rmtree(folder)
    assert sha256_folder(archive / "candidate") == sha256_folder(made.candidate)
    assert sha256_folder(archive / "index") == sha256_folder(made.index)
    model = read_json(archive / "MAR-INF" / "MANIFEST.json")["model"]
    assert (model["modelVersion"], model["handler"]) == ("1.2", "goodsight_handler.py")
    assert read_json(archive / "version.json")["candidate"] == made.digest
    answer = handler.load(archive).predict({"task": "search", "text": "black bed"})
    assert (answer["model_version"], answer["results"][0]["title"]) == ("1.2", "black bed")
    assert [path.name for path in archive.parent.parent.iterdir()] == ["store"]


def test_an_archive_is_replaced_by_its_next_build(made: Any, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build_archive(made.candidate, made.index, "1", Path("store"))
    archive = build_archive(other.candidate, other.index, "1", Path("store"))
    assert read_json(archive / "version.json")["candidate"] == other.digest
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["goodsight-1"]


def test_a_candidate_that_is_not_whole_leaves_nothing(made: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"candidate\.json"):
        build_archive(tmp_path / "nothing", made.index, "1", tmp_path / "home" / "store")
    assert list((tmp_path / "home").rglob("*")) == [tmp_path / "home" / "store"]


@pytest.mark.parametrize("version", ["", "../1", "a b", "-1", "1/2", "é", ".1"])
def test_a_version_is_a_plain_word(version: str) -> None:
    with pytest.raises(InputError, match="no model version"):
        archive_name(version)
