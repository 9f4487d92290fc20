"""The Makefile sets up once and again when the lock changes. Python and pip are stand-ins here; `.ci/run` on a clone is the real thing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from goodsight.digests import HOUSE

PYTHON = """#!/bin/sh
echo "python $*" >> "$CALLS"
case "$*" in
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/goodsight && : > .venv/bin/pip ;;
  *"--editable"*) exit "${PIP_STATUS:-0}" ;;
esac
"""


class Clone:
    """A folder with the Makefile, what it reads, and a python that writes down how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        for name in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copy(HOUSE / name, folder)
        self.python = folder / "python3.11"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        surroundings = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "CALLS": str(self.calls), **environment}
        for name in ("MAKEFLAGS", "MAKELEVEL", "PYTHON"):
            surroundings.pop(name, None)
        return subprocess.run(["make", *arguments], cwd=self.folder, env=surroundings, capture_output=True, text=True, check=False)

    def installs(self) -> list[str]:
        return [call for call in self.calls.read_text().splitlines() if "pip install" in call]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_call_installs_and_the_second_does_not(clone: Clone) -> None:
    assert clone.make("run", "ARGS=--size tiny").returncode == 0
    *_, last = clone.installs()
    assert "--constraint requirements.lock" in last and "--no-build-isolation --editable ." in last
    assert clone.calls.read_text().splitlines()[-1] == "python run --size tiny"
    assert clone.make("run").returncode == 0
    assert clone.installs() == []


def test_tests_install_the_dev_extra_which_runs_need_no_more(clone: Clone) -> None:
    assert clone.make("test").returncode == 0
    assert clone.installs()[-1].endswith("--editable .[dev]")
    assert clone.make("run").returncode == 0 and clone.installs() == []
    assert clone.make("check").returncode != 0  # ruff is not there: the stand-in installs nothing
    assert clone.installs() == []


def test_a_changed_lock_is_installed(clone: Clone) -> None:
    clone.make("run")
    lock = clone.folder / "requirements.lock"
    lock.write_text(lock.read_text() + "zzz==1\n")
    clone.make("run")
    assert clone.installs()


def test_an_installation_that_failed_is_tried_again(clone: Clone) -> None:
    failed = clone.make("run", PIP_STATUS="1")
    assert failed.returncode != 0 and "python run" not in clone.calls.read_text()
    clone.make("run")
    assert clone.installs()


def test_a_machine_without_python_3_11_is_told_so(clone: Clone) -> None:
    told = clone.make("run", "PYTHON=/no/such/python")
    assert told.returncode != 0
    assert "needs Python 3.11, found /no/such/python" in told.stderr and "PYTHON=/path/to/python3.11" in told.stderr


def test_clean_keeps_what_runs_made(clone: Clone) -> None:
    clone.make("run")
    (clone.folder / ".goodsight").mkdir()
    assert clone.make("clean").returncode == 0
    assert (clone.folder / ".goodsight").is_dir() and not (clone.folder / ".venv").exists()
