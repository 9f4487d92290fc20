"""Where and with what a benchmark ran: part of every result file."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "kfp", "mlflow", "feast", "great-expectations", "dvc", "torchserve", "faiss-cpu", "transformers")


def described() -> dict[str, Any]:
    """Commit, date, machine and versions; `-dirty` where code or data differ from the commit, results and their pages aside."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "commit": os.environ.get("GOODSIGHT_COMMIT") or _commit(),  # named where the code is a copy without its history
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": names[0] if names else platform.processor(),
            "cores": os.cpu_count(),
            **_gpu(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **{package: found for package in PACKAGES if (found := _version(package))}},
    }


def wait_for(device: torch.device) -> None:
    """Until the GPU has done what was asked of it, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _commit() -> str:
    commit = _git("describe", "--always").stdout.strip() or "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results", ":(top,exclude)docs")
    return f"{commit}-dirty" if changed.stdout.strip() else commit


def _gpu() -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a machine that trains has no need of it
        return ""


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
