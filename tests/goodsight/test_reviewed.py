"""Files that people review: what they do not know is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from goodsight.errors import InputError
from goodsight.reviewed import Reviewed, Strict


class Part(Strict):
    share: float


class File(Reviewed):
    WHAT: ClassVar = "The file"
    FILE: ClassVar = Path("ours.yaml")

    part: Part


def test_the_digest_is_of_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("# a comment\npart: {share: 0.5}\n")
    (tmp_path / "two.yaml").write_text("part:\n  share: 0.50\n")
    one, two = File.load(tmp_path / "one.yaml"), File.load(tmp_path / "two.yaml")
    assert one == two and one.digest == two.digest != File.parse("part: {share: 0.6}").digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("part: {share: much}", "The file given is wrong at part.share"),
        ("part: {share: 0.5, more: 1}", "wrong at part.more"),
        ("parts: 1", "wrong at part"),
        ("- part", "wrong at the whole file"),
        ("part: [", "The file given cannot be read"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        File.parse(text)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "binary.yaml"):
        with pytest.raises(InputError, match="cannot be read") as raised:
            File.load(tmp_path / name)
        assert "ours.yaml" in raised.value.hint
