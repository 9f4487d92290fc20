"""The verified cache: equal content is a hit wherever it lies, altered content is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from kfp import dsl

from goodsight.digests import sha256_folder
from pipelines.cache import VerifiedCache


def artifact(folder: Path, text: str, named: str = "data") -> dsl.Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.txt").write_text(text)
    made = dsl.Dataset(name=named, uri=str(folder))
    made.metadata["digest"] = sha256_folder(folder)
    return made


def key(cache: VerifiedCache, **arguments: object) -> str:
    return cache.compute_key("comp-pretrain-component", "image", ["python"], arguments)


def test_the_same_bytes_elsewhere_are_the_same_input(tmp_path: Path) -> None:
    cache = VerifiedCache(str(tmp_path / "cache"))
    one, moved, other = artifact(tmp_path / "a", "x"), artifact(tmp_path / "b", "x", "moved"), artifact(tmp_path / "c", "y")
    assert key(cache, snapshot=one) == key(cache, snapshot=moved)
    assert key(cache, snapshot=one) != key(cache, snapshot=other)
    assert key(cache, bundles=[one]) == key(cache, bundles=[moved])


@pytest.mark.parametrize("change", [{"seed": 2}, {"code": "other"}, {"size": "small"}])
def test_arguments_and_code_are_part_of_the_key(tmp_path: Path, change: dict[str, object]) -> None:
    cache = VerifiedCache(str(tmp_path / "cache"))
    asked: dict[str, object] = {"seed": 1, "code": "this", "size": "tiny"}
    assert key(cache, **asked) != key(cache, **{**asked, **change})


def test_a_hit_gives_the_outputs_and_is_named(tmp_path: Path) -> None:
    cache = VerifiedCache(str(tmp_path / "cache"))
    wanted = cache.compute_key("comp-finetune-component", "image", ["python"], {"task": "retrieve"})
    cache.put(wanted, {"bundle": artifact(tmp_path / "out", "weights"), "Output": "fine"})
    found = cache.get(wanted)
    assert found is not None and found["Output"] == "fine" and found["bundle"].uri == str(tmp_path / "out")
    assert cache.hits == ["finetune retrieve"]


@pytest.mark.parametrize("damage", ["alter", "add", "remove"])
def test_damaged_outputs_are_a_miss(tmp_path: Path, damage: str) -> None:
    cache = VerifiedCache(str(tmp_path / "cache"))
    wanted = key(cache, seed=1)
    cache.put(wanted, {"bundle": artifact(tmp_path / "out", "weights")})
    if damage == "alter":
        (tmp_path / "out" / "table.txt").write_text("Weights")
    elif damage == "add":
        (tmp_path / "out" / "more.txt").write_text("")
    else:
        (tmp_path / "out" / "table.txt").unlink()
        (tmp_path / "out").rmdir()
    assert cache.get(wanted) is None
    assert cache.hits == []
