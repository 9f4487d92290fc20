"""Where and with what a benchmark ran: part of every result file."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "kfp", "mlflow", "feast", "great-expectations", "dvc", "torchserve", "faiss-cpu", "transformers")


def described() -> dict[str, Any]:
    """Commit, date, machine and versions; `-dirty` where code or data differ from the commit, results and their pages aside."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = _git("describe", "--always").stdout.strip() or "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)benchmarks/results", ":(top,exclude)docs")
    return {
        "commit": f"{commit}-dirty" if changed.stdout.strip() else commit,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
