"""The environment of a model: every library by version and licence, pretrained weights by digest, the commit of the code."""

from __future__ import annotations

import subprocess
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

from lineage.environment import TOWERS, WITHOUT_WEIGHTS, Checkout, checkout, environment, libraries, towers
from models.config import ARCHITECTURES, SIZES, model_config


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def house(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_the_list_names_what_is_installed_and_its_digest_is_that_of_the_file() -> None:
    digest, text = environment()
    assert digest == sha256(text.encode()).hexdigest()
    lines = text.splitlines()
    assert lines[0].startswith("python==3.") and lines[1:] == sorted(set(lines[1:]))
    assert f"torch=={metadata.version('torch')}" in lines


def test_libraries_are_what_goodsight_needs_however_deep() -> None:
    found = {library.name: library for library in libraries()}
    assert {"torch", "mlflow"} <= set(found["goodsight"].requires)
    assert found["torch"].version == metadata.version("torch") and found["torch"].purl.startswith("pkg:pypi/torch@")
    assert "markupsafe" in found["jinja2"].requires and found["markupsafe"].licence == "BSD-3-Clause"
    assert "aiohttp" in found["fsspec"].requires  # by the extra that lightning asks for
    assert "pytest" not in found
    assert all(name in found for library in found.values() for name in library.requires)


def test_every_tower_of_the_house_is_known() -> None:
    configs = [model_config(architecture, size) for architecture in ARCHITECTURES for size in SIZES]
    named = {name for config in configs for name in (config.image_tower, config.text_tower)}
    assert named <= TOWERS.keys() | set(WITHOUT_WEIGHTS)
    assert towers({"image_tower": "tiny", "text_tower": "tiny"}) == []
    image, text = towers({"image_tower": "efficientnet-lite0", "text_tower": "minilm-l6"})
    assert image.library and image.weights.startswith("57934424")  # its file is named after its digest
    assert text.library and len(text.weights) == 64


def test_a_checkout_tells_its_commit_and_whether_files_differ(house: Path) -> None:
    found = checkout(house)
    assert found and found.commit == git(house, "rev-parse", "HEAD")
    assert (found.dirty, found.origin) == (False, "")
    (house / "code.py").write_text("two")
    changed = checkout(house)
    assert changed and changed.dirty


def test_no_password_of_the_origin_is_told(house: Path) -> None:
    git(house, "remote", "add", "origin", "https://someone:secret@git.example/goodsight.git")
    found = checkout(house)
    assert found and found.origin == "https://git.example/goodsight.git"


def test_code_installed_inside_the_checkout_of_something_else_has_no_commit(house: Path, tmp_path: Path) -> None:
    (house / "site-packages").mkdir()
    assert checkout(house / "site-packages") is None
    assert checkout(tmp_path.parent / "nowhere") is None


def test_code_in_an_image_has_the_commit_that_it_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_COMMIT", "0f" * 20)
    assert checkout(tmp_path.parent / "nowhere") == Checkout("0f" * 20, False, "")
    monkeypatch.setenv("GOODSIGHT_COMMIT", "0f" * 20 + "-dirty")
    assert checkout(tmp_path.parent / "nowhere") == Checkout("0f" * 20, True, "")
