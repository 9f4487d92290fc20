"""Where a decided run runs: as a child of this process, or on Kubeflow Pipelines. Starting the same run twice gives one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from goodsight.settings import settings

if TYPE_CHECKING:
    from pipelines.submit import Kubeflow

COMMAND = ("-c", "from pipelines.command import main; main()", "run", "--quiet")
ENDED = {"FAILED": "FAILED", "CANCELED": "STOPPED", "SUCCEEDED": "SUCCEEDED", "SKIPPED": "SUCCEEDED"}  # Kubeflow's words -> ours


class Going(NamedTuple):
    """A run as its platform knows it; `kubeflow` is the id that it has there, where that is another than its name."""

    run_id: str
    state: str
    began: datetime | None
    kubeflow: str = ""


class Platform(Protocol):
    """What a controller needs of the place where runs run."""

    def start(self, run_id: str, asked: dict[str, Any]) -> None:
        """Starts the run, unless it goes on already. Raises `GoodsightError` or `OSError` when it cannot be started."""

    def going(self) -> list[Going]:
        """The runs that this place knows better than home and the ledger."""

    def wait(self) -> None:
        """Waits for the runs that would end with this process."""


@dataclass
class Here:
    """Runs as children of this process. A killed controller takes its run with it: that one is lost, and goes on at the next start."""

    command: Sequence[str] = field(default_factory=lambda: [sys.executable, *COMMAND])
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, run_id: str, asked: dict[str, Any]) -> None:
        """To be called in the main thread: the child ends with the thread that started it."""
        child = self._children.get(run_id)
        if child and child.poll() is None:
            return
        options = [part for name in ("revision", "architecture", "size", "seed") for part in (f"--{name}", str(asked[name]))]
        options += ["--rollout"] if asked.get("release") == "rollout" else []
        ends_with_this = [sys.executable, "-m", "serving.end_with_parent", "--kill", str(os.getpid())]
        log = settings().root / "runs" / run_id / "watch.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            started = subprocess.Popen(
                [*ends_with_this, *self.command, "--run-id", run_id, *options],
                env={**os.environ, "GOODSIGHT_HOME": str(settings().root)},
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._children[run_id] = started

    def going(self) -> list[Going]:
        return [Going(run_id, "RUNNING", None) for run_id, child in self._children.items() if child.poll() is None]

    def wait(self) -> None:
        for child in self._children.values():
            child.wait()


@dataclass
class OnKubeflow:
    """Runs on Kubeflow Pipelines, found again by their names."""

    kubeflow: Kubeflow
    service_account: str

    def start(self, run_id: str, asked: dict[str, Any]) -> None:
        if not self.kubeflow.named(run_id):
            self.kubeflow.submit("retrain", {**asked, "run_id": run_id}, self.service_account, name=run_id)

    def going(self) -> list[Going]:
        """The newest retrainings of the experiment; those that no controller named go by their id."""
        return [
            Going(name if name.startswith("retrain-") else run, ENDED.get(state, "RUNNING"), began, run)
            for run, name, state, began in self.kubeflow.newest("retrain")
        ]

    def wait(self) -> None:
        """They go on without this process."""


def platform_of(endpoint: str = "") -> Platform:
    """Kubeflow Pipelines where an endpoint is given or set, else this machine."""
    endpoint = endpoint or settings().kfp_endpoint
    if not endpoint:
        return Here()
    from pipelines.pipeline_command import STEPS_ACCOUNT
    from pipelines.submit import Kubeflow

    return OnKubeflow(Kubeflow(endpoint), STEPS_ACCOUNT)


def log_of(run_id: str) -> Path:
    """What a run that a controller started on this machine said."""
    return settings().root / "runs" / run_id / "watch.log"
