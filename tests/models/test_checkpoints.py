"""Checkpoints: whole or not there, whatever kills the training; the newest and the best are kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from goodsight.digests import HOUSE
from goodsight.errors import BusyError, InputError
from models.checkpoints import Checkpoints


def test_a_training_killed_at_twenty_random_moments_comes_to_the_same_bits(tmp_path: Path) -> None:
    """A checkpoint every step, so that many of the moments are amidst writing or removing one."""
    seed = int.from_bytes(os.urandom(2), "big")
    command = [sys.executable, "-m", "tests.models.killed", str(tmp_path), str(seed)]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] == told["whole"], f"seed {seed}: {told}"
    assert told["kills"] == 20, f"seed {seed}: {told}"
    assert len(set(told["went_on_after"])) >= 5, f"the moments were all alike: seed {seed}: {told}"


def save(kept: Checkpoints, step: int, measured: float | None = None) -> None:
    kept.save(step, {"a": torch.full((3,), float(step)), "b": torch.tensor(step)}, {"measured": measured})


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        for step, measured in ((10, 0.1), (20, 0.9), (30, 0.5), (40, 0.6), (50, 0.4)):
            save(kept, step, measured)
    assert steps(tmp_path) == [20, 40, 50]
    found = {"a": torch.zeros(3), "b": torch.tensor(0)}
    kept.read_tensors(tmp_path / "step-0000020", found)
    assert found["a"].tolist() == [20.0] * 3 and found["b"] == 20
    assert kept.names(tmp_path / "step-0000020") == {"a", "b"}
    assert kept.read_state(tmp_path / "step-0000020") == {"measured": 0.9, "step": 20}


def test_what_is_saved_is_what_was_there_then(tmp_path: Path) -> None:
    """Training goes on in place while the background writes."""
    weights, found = torch.zeros(1_000_000), torch.empty(1_000_000)
    with Checkpoints(tmp_path) as kept:
        kept.save(1, {"a": weights}, {})
        weights += 1
    kept.read_tensors(tmp_path / "step-0000001", {"a": found})
    assert not found.any()


def test_weights_that_lie_channels_last_come_back(tmp_path: Path) -> None:
    whole = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    found = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    with Checkpoints(tmp_path) as kept:
        kept.save(1, {"a": whole}, {})
    kept.read_tensors(tmp_path / "step-0000001", {"a": found})
    assert torch.equal(found, whole)


def test_torn_folders_are_never_the_newest_and_go(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        save(kept, 10)
    for torn in ("step-0000020.writing", "step-0000005.removed", "step-0000010.writing.old"):
        (tmp_path / torn).mkdir()
        (tmp_path / torn / "shard").write_bytes(b"half")
    again = Checkpoints(tmp_path)
    assert again.newest() == tmp_path / "step-0000010"
    assert steps(tmp_path) == [10]


def test_what_cannot_be_written_is_told_by_the_next_call(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "there")
    (tmp_path / "there").rmdir()
    (tmp_path / "there").write_text("a file in its place")
    save(kept, 1)
    with pytest.raises(BusyError, match="cannot be written.*there"):
        kept.wait()


def test_a_checkpoint_without_its_marker_is_told(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as kept:
        save(kept, 10)
    (tmp_path / "step-0000010" / "state.json").unlink()
    with pytest.raises(InputError, match="state.json"):
        kept.read_state(tmp_path / "step-0000010")
