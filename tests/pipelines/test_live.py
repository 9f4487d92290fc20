"""The state file of a run that goes on, its budget, and what SIGTERM does to the step and to the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from goodsight.errors import BusyError, InputError, RefusedError
from goodsight.settings import settings
from lineage import record, runs
from lineage.runs import Run
from pipelines import live as live_module
from pipelines.live import Live, before, check_id
from tests.pipelines.made import surroundings

DONE = {"kind": "step", "state": "done", "seconds": 3600.0, "cpu_seconds": 7200.0, "gpu_seconds": 0.0, "peak_rss_bytes": 2**30}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    from monitoring.energy import Power

    monkeypatch.setattr(live_module, "power", lambda root: Power(4.0, 0.5, 0.0))
    return tmp_path


def kept(home: Path) -> Run:
    (run,) = runs.list_runs(home, settings().ledger_url)
    return run


def started(name: str) -> dict[str, str]:
    return {"kind": "step", "name": name, "state": "started"}


def test_every_step_is_in_the_state_file_as_it_comes(home: Path) -> None:
    live = Live("r-1", home, {"size": "tiny"})
    live.cached("resolve")
    live.heard(started("pretrain"))
    live.heard({"kind": "progress", "what": "pretrain", "done": 1, "total": 2})
    assert kept(home).live and [(step.name, step.state) for step in kept(home).steps] == [("resolve", "SUCCEEDED"), ("pretrain", "RUNNING")]
    live.heard({**DONE, "name": "pretrain"})
    resolve, pretrain = kept(home).steps
    assert resolve.cached and resolve.cost is None
    assert (pretrain.state, pretrain.seconds, pretrain.cpu_seconds) == ("SUCCEEDED", 3600.0, 7200.0) and pretrain.started
    assert pretrain.energy_kwh == pytest.approx(0.0085) and pretrain.cost == pytest.approx(live.meter.prices.of(pretrain))
    names = ("cpu_seconds", "gpu_seconds", "peak_rss_bytes", "energy_kwh", "cost")
    assert live.costs() == {"pretrain": {name: getattr(pretrain, name) for name in names}}
    live.heard(started("gate"))
    live.ended("FAILED", "no disk", verdict=None)
    ended = kept(home)
    assert (ended.state, ended.cause, live.failed) == ("FAILED", "no disk", ["gate"]) and ended.ended


def test_a_full_disk_does_not_end_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live("r-1", home, {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    live.heard(started("pretrain"))
    live.heard({**DONE, "name": "pretrain"})
    assert live.run.steps[0].state == "SUCCEEDED" and kept(home).steps == []


def test_energy_that_nobody_knows_leaves_the_money(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unknown(root: Path) -> None:
        raise RuntimeError("no such CPU")

    monkeypatch.setattr(live_module, "power", unknown)
    live = Live("r-1", home, {})
    live.heard({**DONE, "name": "pretrain"})
    (step,) = live.run.steps
    assert step.energy_kwh is None and step.cost and "no such CPU" in capsys.readouterr().out


def test_no_step_begins_once_the_budget_is_spent(home: Path) -> None:
    live = Live("r-1", home, {"budget": 0.01})
    live.missed("resolve")
    live.heard({**DONE, "name": "resolve"})
    with pytest.raises(RefusedError, match="before the step pretrain; its budget is 0.01") as told:
        live.missed("pretrain")
    assert told.value is live.refused and "runs resume r-1 --budget" in told.value.hint
    again = Live("r-1", home, {"budget": 0.01}, live.run)
    with pytest.raises(RefusedError):
        again.missed("pretrain")
    assert again.run.cost == live.run.cost and again.run.started == live.run.started


def test_only_a_run_that_did_not_succeed_goes_on(home: Path) -> None:
    url = settings().ledger_url
    assert before("r-1", home, url) is None
    live = Live("r-1", home, {})
    with pytest.raises(BusyError, match="goes on"):
        before("r-1", home, url)
    live.ended("FAILED", "no disk")
    assert before("r-1", home, url) == live.run
    record.run("SUCCEEDED", "r-1", "", "")
    with pytest.raises(InputError, match="succeeded already"):
        before("r-1", home, url)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 101, "a b"])
def test_an_id_names_one_folder(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the id"):
        check_id(name)
    assert check_id("retrain-12") == "retrain-12"


STEP = """
import signal, sys
def stop(*_):
    open(sys.argv[1], "w").close()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
signal.pause()
"""
RUN = f"""
import subprocess, sys
from pipelines.live import stoppable
with stoppable():
    server = [sys.executable, "-c", "import signal; signal.pause()"]
    apart = subprocess.Popen(server, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child = subprocess.Popen([sys.executable, "-c", {STEP!r}, sys.argv[1]], stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    print(apart.pid, flush=True)
    child.wait()
    raise SystemExit("the step ended, and the run went on")
"""


def test_sigterm_lets_the_step_write_its_checkpoint_and_ends_the_run_as_ctrl_c_does(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(checkpoint)],
        env=surroundings(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    apart = psutil.Process(int(run.stdout.readline()))
    try:
        os.kill(run.pid, signal.SIGTERM)
        _, told = run.communicate(timeout=60)
        assert checkpoint.exists() and "KeyboardInterrupt" in told
        assert apart.is_running(), "a server in a session of its own is no step"
    finally:
        apart.kill()
