"""The shell around every step: digests on outputs, one error line, no orphan when the run is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kfp import dsl

from components.shell import step
from goodsight.digests import sha256_folder
from goodsight.errors import EXIT_REFUSED, RefusedError
from goodsight.progress import parse


def events(text: str) -> list[dict]:
    return [event for line in text.splitlines() if (event := parse(line))]


def test_outputs_carry_the_digest_of_their_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = dsl.Dataset(name="table", uri=str(tmp_path / "table"))
    with step("features", table=made):
        (tmp_path / "table").write_text("rows")
    assert made.metadata["digest"] == sha256_folder(tmp_path / "table")
    told = events(capsys.readouterr().out)
    assert [event["state"] for event in told] == ["started", "done"]


def test_an_error_is_one_event_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, step("gate"):
        raise RefusedError("below the floor", "train longer")
    assert ended.value.code == EXIT_REFUSED
    error = events(capsys.readouterr().out)[-1]
    assert (error["kind"], error["type"], error["message"], error["hint"]) == ("error", "RefusedError", "below the floor", "train longer")


CHILD = """
import sys, threading
from components.shell import step
with step("pretrain"):
    print("ready", flush=True)
    threading.Event().wait()
"""


def test_a_step_ends_when_its_run_is_killed() -> None:
    run = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    environment = {**os.environ, "GOODSIGHT_RUN_PID": str(run.pid)}
    child = subprocess.Popen([sys.executable, "-c", CHILD], env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "started" in child.stdout.readline()
    assert child.stdout.readline() == "ready\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert child.wait(timeout=20) == 75
    assert not psutil.pid_exists(child.pid)
