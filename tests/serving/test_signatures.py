"""What serves is what was signed: whatever happens to one file of a candidate or an index, no predictor comes of it, and no server."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goodsight.errors import IntegrityError
from lineage import keys
from lineage.signing import SIGNATURE
from serving.deploy import store
from serving.predictor import Predictor

PLACES = 150  # benchmarks/signatures.py does it on a served model


@pytest.fixture
def copied(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Candidate and index to damage, which must be refused before anything but a signature is parsed."""
    folders = (shutil.copytree(made.candidate, tmp_path / "candidate"), shutil.copytree(made.index, tmp_path / "index"))
    monkeypatch.setattr("serving.predictor.load_candidate", lambda *_: pytest.fail("parsed before it was verified"))
    return folders


def test_one_flipped_bit_anywhere_is_refused_and_its_file_named(copied: tuple[Path, Path]) -> None:
    draw = random.Random(17)
    files = sorted(path for folder in copied for path in folder.rglob("*") if path.is_file())
    for _ in range(PLACES):
        path = draw.choice(files)
        place, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
        _flip(path, place, bit)
        with pytest.raises(IntegrityError) as refused:
            Predictor.load(*copied)
        assert str(path) in refused.value.message
        _flip(path, place, bit)


def _flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (value,) = file.read(1)
        file.seek(place)
        file.write(bytes([value ^ bit]))


@pytest.mark.parametrize("name", ["candidate", "index"])
def test_unsigned_or_signed_as_another_is_refused(copied: tuple[Path, Path], other: Any, name: str) -> None:
    signature = copied[name == "index"] / SIGNATURE
    signature.unlink()
    with pytest.raises(IntegrityError, match=rf"{name} is not signed: .*model\.sig"):
        Predictor.load(*copied)
    shutil.copy(getattr(other, name) / SIGNATURE, signature)
    with pytest.raises(IntegrityError, match=rf"/{name}/.* is not as it was signed"):
        Predictor.load(*copied)


def test_nothing_serves_that_a_withdrawn_key_signed(copied: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "trusted", lambda: [])
    with pytest.raises(IntegrityError, match=r"candidate/model\.sig is by the key"):
        Predictor.load(*copied)


@pytest.mark.torchserve
@pytest.mark.parametrize("file", ["candidate/retrieve/weights.safetensors", "index/vectors.faiss"])
def test_a_server_does_not_load_an_altered_archive(deployed: Path, serve: Callable[[Path], Any], tmp_path: Path, file: str) -> None:
    home = shutil.copytree(deployed, tmp_path / "home")
    path = store(home) / "goodsight-1" / file
    _flip(path, path.stat().st_size // 2, 1)
    served = serve(home)
    said = served.process.stdout.read()
    assert served.process.wait() == 1 and "Serving" not in served.first_line
    assert f"goodsight-1 does not load: IntegrityError: {path} is not as it was signed" in said
