"""Facts are of one run: what is mixed up or broken is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from goodsight.digests import sha256_file
from goodsight.errors import InputError, IntegrityError
from tests.lineage.made import Run


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    for name, place in vars(finished).items():
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / name)
    return Run(**{name: tmp_path / name for name in vars(finished)})


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_files_are_those_of_the_candidate(copied: Run) -> None:
    (copied.candidate / "verdict.json").write_text("{}")
    files = copied.facts.files
    assert {name.split("/")[0] for name in files} == {"candidate.json", "categorize", "retrieve"}
    assert files["retrieve/weights.safetensors"] == sha256_file(copied.candidate / "retrieve" / "weights.safetensors")


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        (lambda run: change(run.candidate / "candidate.json", digest="0" * 64), "evaluation is of the candidate"),
        (lambda run: change(run.verdict, candidate={"digest": "0" * 64}), "verdict is on the candidate 000000000000"),
        (lambda run: change(run.evaluation / "metrics.json", snapshot="0" * 64), "evaluation is on the snapshot 000000000000"),
    ],
)
def test_parts_of_different_runs_are_refused(copied: Run, change_it: Any, words: str) -> None:
    change_it(copied)
    with pytest.raises(IntegrityError, match=words):
        _ = copied.facts


def test_a_verdict_that_is_none_is_refused(copied: Run) -> None:
    copied.verdict.write_text("{}")
    with pytest.raises(InputError, match="lacks 'candidate'"):
        _ = copied.facts
