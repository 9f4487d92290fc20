"""The project as pip sees it: the lock fits pyproject.toml and any machine, rooms import lower floors only, the command starts fast."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from goodsight.digests import HOUSE

PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LOCK = (HOUSE / "requirements.lock").read_text().splitlines()
PINS = dict(line.split("==") for line in LOCK)
FLOORS = (
    ("goodsight",),
    ("catalogue", "lineage"),
    ("models", "feature_repo"),
    ("serving", "monitoring"),
    ("components",),
    ("pipelines",),
)
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms if (HOUSE / room).is_dir()}
HEAVY = ("torch", "kfp", "mlflow", "great_expectations", "feast", "dvc", "faiss", "pandas", "pyarrow", "transformers")


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_the_lock_pins_every_dependency_above_its_floor(line: str) -> None:
    wanted = Requirement(line)
    assert wanted.specifier.contains(PINS[canonicalize_name(wanted.name)])


def test_the_lock_installs_on_any_machine() -> None:
    assert [line for line in LOCK if not re.fullmatch(r"[a-z0-9-]+==[0-9!.a-z]+", line)] == []
    assert sorted(LOCK) == LOCK
    assert len(PINS) == len(LOCK)
    assert {"setuptools", "wheel"} <= PINS.keys()  # packages are built with these, see Makefile


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names.add(node.module or "")
    return {name.split(".")[0] for name in names} & ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_itself_and_lower_floors(room: str) -> None:
    for path in (HOUSE / room).rglob("*.py"):
        above = {other for other in imported_rooms(path) if other != room and ROOMS[other] >= ROOMS[room]}
        assert not above, f"{path.relative_to(HOUSE)} imports {above}"


def test_the_command_starts_without_heavy_libraries() -> None:
    code = f"import sys, pipelines.command; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
