"""The sample of inputs: kept only when asked for, always or never for the same request, and readable by its owner alone."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from goodsight.digests import sha256_bytes
from goodsight.files import read_json
from serving import inputs
from serving.inputs import InputSample
from serving.request import parse

BODIES = {sha256_bytes(body): body for number in range(200) if (body := json.dumps({"task": "search", "text": str(number)}).encode())}


def kept(sample: InputSample) -> set[str]:
    assert sample.flush()
    return {path.stem for path in sample.folder.glob("*")}


def offered(sample: InputSample) -> set[str]:
    for digest, body in BODIES.items():
        sample.offer(digest, body, "application/json")
        assert sample.flush()
    return kept(sample)


def test_a_share_is_kept_the_same_one_every_time(tmp_path: Path) -> None:
    some = offered(InputSample(tmp_path / "a", 0.25))
    assert 20 < len(some) < 90
    assert offered(InputSample(tmp_path / "b", 0.25)) == some == offered(InputSample(tmp_path / "a", 0.25))
    assert some < offered(InputSample(tmp_path / "c", 0.5)) < offered(InputSample(tmp_path / "d", 1.0)) == set(BODIES)


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    offered(InputSample(tmp_path / "inputs", 0.0))
    assert not (tmp_path / "inputs").exists()


def test_what_is_kept_is_the_request_for_its_owner_alone(tmp_path: Path, picture: Callable[[int], bytes]) -> None:
    sample = InputSample(tmp_path / "inputs", 1.0)
    asked = {"task": "categorize", "image": picture(20)}
    sample.offer(parse(asked).digest, picture(20), "image/png")
    [digest] = kept(sample)
    path = sample.folder / f"{digest}.json"
    assert parse(read_json(path)).digest == digest == parse(asked).digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(sample.folder.stat().st_mode) == 0o700


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST", 5)
    assert len(offered(InputSample(tmp_path / "inputs", 1.0))) == 5
