"""A controller as a process of its own, which tests kill, with the program of `tests.pipelines.watched` as its run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from catalogue import versions  # noqa: F401 - imported here, each new process has it
from goodsight.digests import HOUSE
from goodsight.settings import settings
from lineage import feedback, ledger, runs  # noqa: F401
from pipelines.leader import Leadership
from pipelines.platforms import Here
from pipelines.watch import Controller, Loop
from tests.pipelines.watched import COMMAND

PAGE = 4096  # bytes of SQLite's
DEADLINE = 300.0  # seconds, for a machine that has much else to do
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.pipelines.controller"])


@dataclass
class Started:
    """A controller that works, and what it says."""

    process: BaseProcess
    output: Path

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not true():
            assert self.process.is_alive(), self.said()[-4000:]
            assert time.monotonic() < deadline, self.said()[-4000:]
            time.sleep(0.05)

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.process.kill()
        self.process.join()


def start(policy: Path, how: str = "loop", seconds: float = 0.3) -> Started:
    """Starts one; `how` is `loop` or `once`. Its runs take so many seconds."""
    output = policy.with_name(f"controller-{time.monotonic_ns()}.txt")
    surroundings = {"GOODSIGHT_HOME": str(settings().root), "WATCHED_SECONDS": str(seconds)}
    process = _context.Process(target=_work, args=(str(policy), how, surroundings, str(output)), daemon=True)
    process.start()
    return Started(process, output)


def _work(policy: str, how: str, surroundings: dict[str, str], output: str) -> None:
    over = threading.Timer(2 * DEADLINE, os._exit, (1,))  # whatever became of the test
    over.daemon = True
    over.start()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # where files are bounded, writing more is an error, as on a full disk
    sys.stdout = sys.stderr = open(output, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    path = os.pathsep.join([str(HOUSE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    os.environ.update({**surroundings, "PYTHONPATH": path})
    settings.cache_clear()
    controller = Controller(Path(policy), Here(COMMAND))
    leadership = Leadership(settings().ledger_url, patience=DEADLINE)
    if how == "once":
        with leadership:
            made = controller.look(leads=leadership.take)
            controller.platform.wait()
        print(made.decision, made.run_id)
        return
    Loop(controller, leadership, print, threading.Event(), poll_seconds=0.05, first_pause=0.1).run()
