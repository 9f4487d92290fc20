"""`goodsight runs` on runs of other processes: following, stopping, burying."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from goodsight.errors import GoodsightError
from goodsight.settings import settings
from lineage import cluster_runs, record, runs
from lineage.runs import Run, Step
from pipelines.command import app
from tests.pipelines.made import surroundings

BEGUN = "2026-05-01T10:00:00.000000+00:00"
KEPT = Run("r-1", "RUNNING", BEGUN, since=BEGUN, asked={"size": "tiny"}, steps=[Step("pretrain", "RUNNING")])
GOING = """
import signal, sys
from pathlib import Path
from lineage import record
from lineage.runs import Run, by_this_process, keep
root, begun = Path(sys.argv[1]), sys.argv[2]
log = root / "runs" / "r-1" / "run.log"
log.parent.mkdir(parents=True)
log.write_text("first line\\n")
def stop(*_):
    with log.open("a") as file:
        file.write("last line\\n")
    record.run("STOPPED", "r-1", "", "")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
keep(root, by_this_process(Run("r-1", "RUNNING", begun, since=begun)))
print("up", flush=True)
signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    return tmp_path


def said(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["runs", *arguments], env={"COLUMNS": "160"})


def refusal(*arguments: str) -> str:
    error = said(*arguments).exception
    assert isinstance(error, GoodsightError), error
    return f"{error.message} {error.hint}"


def test_a_run_of_another_process_is_followed_stopped_and_told_of(home: Path) -> None:
    going = subprocess.Popen([sys.executable, "-c", GOING, str(home), BEGUN], env=surroundings(home), stdout=subprocess.PIPE, text=True)
    assert going.stdout is not None and going.stdout.readline() == "up\n"
    follow = [sys.executable, "-c", "from pipelines.command import main; main()", "runs", "logs", "-f", "last"]
    follower = subprocess.Popen(follow, env=surroundings(home), stdout=subprocess.PIPE, text=True)
    assert follower.stdout is not None and follower.stdout.readline() == "first line\n"
    assert "running" in said("list").output
    cancelled = said("cancel", "r-1")
    assert cancelled.exit_code == 0 and "STOPPED" in cancelled.output and "runs resume r-1" in cancelled.output
    assert going.wait(timeout=60) == 130
    told, _ = follower.communicate(timeout=60)
    assert told == "last line\n" and follower.returncode == 0
    assert "is over: STOPPED" in refusal("cancel", "r-1")


def test_a_lost_run_is_buried_in_the_ledger(home: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    runs.keep(home, replace(KEPT, pid=ended.pid, steps=[Step("resolve", seconds=2.0, cost=0.5)]))
    assert "lost" in said("list", "--state", "lost").output
    assert "STOPPED now" in said("cancel", "r-1").output
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert (run.state, run.asked, run.cost) == ("STOPPED", {"size": "tiny"}, 0.5) and "was gone" in run.cause


def test_a_run_on_a_cluster_is_stopped_there_and_buried_here_once_it_is_lost(home: Path) -> None:
    used = {"seconds": 2.0, "cpu_seconds": 1.5, "gpu_seconds": 0.0, "peak_rss_bytes": 2**30}
    cluster_runs.begin(home, "0f6c", "resolve", "retrain-7")
    cluster_runs.end(home, "0f6c", "resolve", "done", **used)
    cluster_runs.begin(home, "0f6c", "snapshot")
    assert "running" in said("list").output and "0f6c" in said("show", "retrain-7").output and "retrain-7" in said("show", "0f6c").output
    assert "goodsight pipeline cancel 0f6c" in refusal("cancel", "retrain-7")
    assert "pipeline submit" in refusal("resume", "retrain-7")
    os.utime(cluster_runs.place(home, "0f6c", "snapshot"), (0, 0))
    told = said("cancel", "retrain-7").output
    assert "STOPPED now" in told and "goodsight pipeline cancel 0f6c" in told
    (run,) = runs.list_runs(home, settings().ledger_url)
    assert (run.state, run.kubeflow, run.steps[0].cpu_seconds) == ("STOPPED", "0f6c", 1.5) and run.cost


def test_what_cannot_be_done_says_what_can(home: Path) -> None:
    assert "No run yet" in said("list").output
    assert "no run 'x'" in refusal("show", "x")
    assert "no state" in refusal("list", "--state", "asleep")
    record.run("SUCCEEDED", "c-1", "shop-1", "")
    assert "left no log" in refusal("logs", "c-1")
    assert "pipeline submit" in refusal("resume", "c-1")
    assert "is over: SUCCEEDED" in refusal("cancel", "c-1")
    assert "Nothing is kept" in refusal("why-run", "c-1")
    runs.keep(home, replace(KEPT, namespace=1))
    with runs.living(runs.folder(home, "r-1")):
        assert "another container" in refusal("cancel", "r-1")


def test_a_run_is_shown_with_what_its_steps_took(home: Path) -> None:
    costs = {"pretrain": {"cpu_seconds": 3.0, "gpu_seconds": 1.0, "peak_rss_bytes": 2**20, "energy_kwh": 0.002, "cost": 1.25}}
    told = {"asked": {"size": "tiny", "policy": "x"}, "steps": {"pretrain": 4.5}, "cached": ["resolve"], "costs": costs, "currency": "EUR"}
    record.run("FAILED", "r-1", "shop-1", "no [disk]", failed=["pretrain"], order=["resolve", "pretrain"], **told)
    shown = said("show", "r-1").output
    for words in ("failed", "no [disk]", "size tiny", "from the cache", "4.5", "3.0", "1 MiB", "2.000", "1.25 EUR"):
        assert words in shown, shown
    assert shown.index("resolve") < shown.index("pretrain") and "policy" not in shown
