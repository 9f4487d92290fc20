"""The shell around every step: digests on outputs, lineage, one error line, no orphan when the run is killed."""

from __future__ import annotations

import json
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
from goodsight.settings import settings


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


def lineage() -> list[dict]:
    return [json.loads(line) for line in (settings().root / "openlineage.jsonl").read_text().splitlines()]


def test_lineage_says_what_was_read_and_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-1")
    table, bundles = dsl.Dataset(name="table", uri=str(tmp_path / "table")), [dsl.Model(uri=str(tmp_path / name)) for name in "ab"]
    with step("features", table=table):
        (tmp_path / "table").write_text("rows")
    for bundle in bundles:
        bundle.metadata["digest"] = "b" * 64
    with step("evaluate", "c" * 64, {"data": table, "bundles": bundles, "champion": "", "revision": "shop-1"}):
        pass
    (started, completed) = lineage()[2:]
    assert [event["job"]["name"] for event in lineage()] == ["features", "features", "evaluate", "evaluate"]
    assert lineage()[1]["outputs"][0]["name"] == "features/table"
    read = [(each["name"], each["facets"]["version"]["datasetVersion"]) for each in started["inputs"]]
    assert read == [("features/table", table.metadata["digest"]), *[("bundles", "b" * 64)] * 2, ("revision", "shop-1")]
    assert completed["run"]["facets"]["parent"] == lineage()[0]["run"]["facets"]["parent"]


@pytest.mark.parametrize("error", [RefusedError("below the floor"), ZeroDivisionError("by zero")])
def test_lineage_says_how_a_step_failed(error: Exception) -> None:
    with pytest.raises((SystemExit, ZeroDivisionError)), step("gate"):
        raise error
    failed = lineage()[-1]
    assert failed["eventType"] == "FAIL"
    assert error.args[0] in failed["run"]["facets"]["errorMessage"]["message"]


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
