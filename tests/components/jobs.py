"""The cluster of a step's tests, and the programs of its pods."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components import kubernetes_api, train_job
from goodsight.settings import settings
from tests.cluster import Cluster, cluster_at
from tests.components.learnable import learnable

NAME = "pretrain-0123456789abcdef"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster of KUBECONFIG, and no patience: what is waited for is there at once or soon."""
    (tmp_path / "cluster").mkdir()
    with cluster_at(tmp_path / "cluster") as there:
        for name, value in {"KUBECONFIG": str(there.kubeconfig()), "GOODSIGHT_TRAIN_RUNTIME": "goodsight-torch"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", os.environ["KUBECONFIG"])
        monkeypatch.setattr(train_job, "POLL_SECONDS", 0.05)
        monkeypatch.setattr(train_job, "ATTEMPTS", 3)
        monkeypatch.setattr(train_job, "APPEAR_SECONDS", 1)
        monkeypatch.setattr(train_job, "LONGEST_WAIT_SECONDS", 0.05)
        monkeypatch.setattr(kubernetes_api, "LONGEST_WAIT_SECONDS", 0.05)
        settings.cache_clear()
        yield there


def says(*lines: str, status: int = 0, wait: bool = False) -> list[str]:
    """A pod's program: says these lines, and ends with a status once it may (`wait`: at SIGTERM, with 75)."""
    code = f"import signal, sys\nfor line in {lines!r}: print(line, flush=True)\n"
    code += "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\nprint('ready', flush=True)\n" if wait else ""
    code += "signal.sigwait([signal.SIGTERM])\nsys.exit(75)" if wait else f"sys.exit({status})"
    return [sys.executable, "-c", code]


def beside(do: Callable[[], Any]) -> threading.Thread:
    """`do` while the step follows its job in the main thread, which alone hears signals."""
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return learnable(tmp_path_factory.mktemp("learnable"))
