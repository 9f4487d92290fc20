"""The project as pip sees it: the lock fits pyproject.toml, and any machine."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from goodsight.digests import HOUSE

PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
LOCK = (HOUSE / "requirements.lock").read_text().splitlines()
PINS = dict(line.split("==") for line in LOCK)


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
def test_the_lock_pins_every_dependency_above_its_floor(line: str) -> None:
    wanted = Requirement(line)
    assert wanted.specifier.contains(PINS[canonicalize_name(wanted.name)])


def test_the_lock_installs_on_any_machine() -> None:
    assert [line for line in LOCK if not re.fullmatch(r"[a-z0-9-]+==[0-9!.a-z]+", line)] == []
    assert sorted(LOCK) == LOCK
    assert len(PINS) == len(LOCK)
    assert {"setuptools", "wheel"} <= PINS.keys()  # packages are built with these, see Makefile
