"""A TrainJob whose pods are lost is made again and goes on; one whose step is cancelled is deleted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from components import train_job
from components.steps.pretrain import pretrain, train_here
from components.train_job import LostError, TrainJob
from goodsight.errors import EXIT_RETRY, BusyError
from goodsight.progress import parse
from goodsight.settings import settings
from models.bundle import verify
from tests.cluster import Cluster
from tests.components.jobs import NAME, beside, cluster, data, says

__all__ = ["cluster", "data"]


@pytest.mark.parametrize("how", ["preempted", "killed", "lost", "deleted"])
def test_lost_pods_are_made_again(how: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.program = says("first", wait=True)

    def lose() -> None:
        pod = cluster.running(saying="ready")
        cluster.wait_for(lambda: cluster.follows)  # what a pod said goes with it
        cluster.program = says("second")
        if how == "lost":
            cluster.lose(pod)
        elif how == "deleted":
            cluster.delete(NAME)
        else:
            pod.signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)

    thread = beside(lose)
    TrainJob(NAME).train([])
    thread.join()
    assert len(cluster.made) == 2
    said = capsys.readouterr().out.splitlines()
    assert said.index("first") < said.index("second")
    assert any("try 2 of 3" in (parse(line) or {}).get("text", "") for line in said)


def test_pods_that_are_always_lost_are_given_up_for_now(cluster: Cluster) -> None:
    cluster.program = says("preempted", status=EXIT_RETRY)
    with pytest.raises(BusyError) as raised:
        TrainJob(NAME).train([])
    assert raised.value.exit_code == EXIT_RETRY
    assert len(cluster.made) == 3


def test_two_jobs_never_write_one_checkpoint(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is made again only when the pods of the one before are gone, however long they take."""
    monkeypatch.setattr(train_job, "QUIET_SECONDS", 0.2)
    late = cluster.folder / "late"
    code = "import os, signal, sys, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nprint('ready', flush=True)\n"
    code += f"signal.sigwait([signal.SIGTERM])\nos.mkfifo({str(late)!r})\nopen({str(late)!r}).read()\nsys.exit(75)"
    cluster.program = [sys.executable, "-c", code]
    seen: list[int] = []

    def lose() -> None:
        cluster.running(saying="ready")
        cluster.program = says("second")
        cluster.delete(NAME)
        cluster.wait_for(late.exists)
        before = cluster.lists
        cluster.wait_for(lambda: cluster.lists > before + 3)  # the step looks, and the pod is still there
        seen.append(len(cluster.made))
        late.write_text("go")

    thread = beside(lose)
    TrainJob(NAME).train([])
    thread.join()
    assert (seen, len(cluster.made)) == ([1], 2)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_step_deletes_its_job_and_the_pods_have_their_time(how: signal.Signals, cluster: Cluster) -> None:
    cluster.program = says("training", wait=True)
    pods = []

    def cancel() -> None:
        pods.append(cluster.running(saying="ready"))
        os.kill(os.getpid(), how)

    beside(cancel)
    with pytest.raises(BusyError if how == signal.SIGTERM else KeyboardInterrupt):
        TrainJob(NAME).train([])
    assert not cluster.jobs
    assert cluster.wait_for(lambda: pods[0].status) == EXIT_RETRY  # told by SIGTERM, not killed
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_step_that_is_tried_again_follows_the_job_that_runs(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    gate = cluster.folder / "go"
    os.mkfifo(gate)
    cluster.program = [sys.executable, "-c", f"print('training', flush=True)\nopen({str(gate)!r}).read()\nprint('trained')"]
    TrainJob(NAME)._create(["--seed", "17"])

    def let_it_end() -> None:
        cluster.running(saying="training")
        cluster.wait_for(lambda: cluster.follows)  # one that ended before is made again
        gate.write_text("go")

    beside(let_it_end)
    TrainJob(NAME).train(["--seed", "17"])
    said = capsys.readouterr().out
    assert len(cluster.made) == 1
    assert "runs already" in said and "trained" in said


def test_a_lost_node_costs_nothing(
    data: tuple[Path, Path], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on the cluster, the node killed on the way: the job goes on from its checkpoint to the bundle of a run in one piece."""
    whole = train_here(*data, "commercemm", "tiny", 3, tmp_path / "whole", tmp_path / "whole.jsonl")
    home = tmp_path / "another-home"
    monkeypatch.setenv("GOODSIGHT_HOME", str(home))
    monkeypatch.setenv("GOODSIGHT_TRAIN_CPUS", "1")  # as many threads as here, so that sums are taken in the same order
    settings.cache_clear()

    def kill() -> None:
        cluster.wait_for(lambda: [path for path in home.glob("checkpoints/*/step-*") if not path.suffix], seconds=900)
        cluster.lose(cluster.running())

    thread = beside(kill)
    made = pretrain(*data, "commercemm", "tiny", 3, tmp_path / "bundle", tmp_path / "curve.jsonl")
    thread.join()
    assert len(cluster.made) == 2 and not cluster.jobs
    assert "going on from the checkpoint after step" in capsys.readouterr().out
    assert made == verify(tmp_path / "bundle") == whole
    assert (tmp_path / "curve.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert pretrain(*data, "commercemm", "tiny", 3, tmp_path / "again", tmp_path / "again.jsonl") == whole  # it is kept in home
    assert len(cluster.made) == 2


def test_the_lost_error_is_one_that_may_be_tried_again() -> None:
    assert issubclass(LostError, BusyError) and LostError.exit_code == EXIT_RETRY
