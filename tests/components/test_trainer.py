"""The entry of a TrainJob's pods: what its ranks end with is what the pod ends with, and a SIGTERM reaches every rank."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.trainer import exit_status
from goodsight.digests import HOUSE
from goodsight.errors import EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_RETRY
from goodsight.progress import parse
from tests.cluster import free_port

LAUNCH = "import sys; from components.trainer import launch; sys.exit(launch(int(sys.argv[1]), sys.argv[2:]))"


def start(arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "PYTHONPATH": str(HOUSE), **environment}
    return subprocess.Popen([sys.executable, *arguments], env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ranks(folder: Path, what: str, rank: int = 0, status: int = 0, processes: int = 2, **environment: str) -> subprocess.Popen[str]:
    return start(["-c", LAUNCH, str(processes), "tests.components.ranks", what, str(rank), str(status), str(folder)], **environment)


def until(found: object) -> None:
    Retrying(retry=retry_if_result(lambda there: not there), wait=wait_fixed(0.05), stop=stop_after_delay(120))(found)  # type: ignore[arg-type]


def test_two_ranks_find_each_other(tmp_path: Path) -> None:
    launcher = ranks(tmp_path, "add")
    assert launcher.wait(120) == 0, launcher.communicate()[1]
    assert [path.read_text() for path in sorted(tmp_path.glob("sum-*"))] == ["3 of 2", "3 of 2"]


def test_two_nodes_find_each_other_by_what_the_kubeflow_trainer_tells_them(tmp_path: Path) -> None:
    told = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "auto", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
    nodes = [ranks(tmp_path, "add", processes=1, **told, PET_NODE_RANK=str(node)) for node in (0, 1)]
    assert [node.wait(120) for node in nodes] == [0, 0]
    assert [path.read_text() for path in sorted(tmp_path.glob("sum-*"))] == ["3 of 2", "3 of 2"]


@pytest.mark.parametrize(
    "rank, status, wanted",
    [(0, EXIT_BAD_INPUT, EXIT_BAD_INPUT), (1, EXIT_REFUSED, EXIT_REFUSED), (1, EXIT_RETRY, EXIT_RETRY), (1, -signal.SIGKILL, 137)],
)
def test_the_status_of_the_rank_that_failed_is_that_of_the_node(rank: int, status: int, wanted: int, tmp_path: Path) -> None:
    launcher = ranks(tmp_path, "end", rank, status)
    assert launcher.wait(120) == wanted, launcher.communicate()[1]
    assert (tmp_path / f"checkpoint-{1 - rank}").exists()  # the other one was told to stop, and had its time


def test_a_sigterm_gives_every_rank_the_time_for_its_checkpoint(tmp_path: Path) -> None:
    launcher = ranks(tmp_path, "wait")
    until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(120) == EXIT_RETRY, launcher.communicate()[1]
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_the_cause_counts_more_than_its_consequences() -> None:
    assert exit_status([EXIT_RETRY, 1]) == 1
    assert exit_status([-signal.SIGTERM, -signal.SIGSEGV]) == 139
    assert exit_status([1, EXIT_BAD_INPUT]) == EXIT_BAD_INPUT
    assert exit_status([-signal.SIGTERM, EXIT_RETRY]) == EXIT_RETRY


def train(snapshot: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    paths = ["--snapshot", str(snapshot), "--table", str(snapshot), "--bundle", str(out / "bundle"), "--curve", str(out / "curve")]
    return start(["-m", "components.trainer", "--size", "tiny", *paths, *more])


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_input_is_one_line_and_is_not_to_be_retried(processes: int, tmp_path: Path) -> None:
    trainer = train(tmp_path / "nowhere", tmp_path, "--processes", str(processes), "--architecture", "transformer")
    said, _ = trainer.communicate(timeout=180)
    assert trainer.returncode == EXIT_BAD_INPUT
    errors = [event for line in said.splitlines() if (event := parse(line)) and event["kind"] == "error"]
    assert 1 <= len(errors) <= processes  # torchrun may end the other rank before it says anything
    assert {(event["name"], event["type"]) for event in errors} == {("pretrain", "InputError")}
    assert "transformer" in errors[0]["message"]


def test_arguments_that_are_missing_are_not_to_be_retried() -> None:
    trainer = start(["-m", "components.trainer", "--size", "tiny"])
    _, said = trainer.communicate(timeout=120)
    assert trainer.returncode == EXIT_BAD_INPUT
    assert "--snapshot" in said and "Traceback" not in said
