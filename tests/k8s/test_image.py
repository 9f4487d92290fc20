"""The image of the steps, as far as it can be checked without a registry: what it is made from, and that nothing runs as root."""

from __future__ import annotations

import re
import tomllib

from goodsight.digests import HOUSE
from goodsight.settings import IMAGE

FILE = (HOUSE / "k8s" / "images" / "Containerfile").read_text()
IGNORED = (HOUSE / "k8s" / "images" / "Containerfile.containerignore").read_text().splitlines()
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())


def test_the_image_has_the_python_and_the_versions_of_the_lock() -> None:
    assert set(re.findall(r"^FROM (\S+)", FILE, re.MULTILINE)) == {"docker.io/library/python:3.11-slim"}
    installs = [line for line in FILE.splitlines() if "pip install" in line]
    assert installs and all("--constraint requirements.lock" in line for line in installs)
    assert "--no-build-isolation ." in installs[-1]


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    _, last = FILE.rsplit("\nFROM", 1)
    users = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
    assert len(users) == 1 and int(users[0]) >= 10_000
    assert re.search(r"^GOODSIGHT_HOME=/var/lib/goodsight$", last.replace("    ", ""), re.MULTILINE)


def test_the_build_sees_every_package_and_nothing_else() -> None:
    seen = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    packages = {name.split(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert IGNORED[0] == "*"
    assert seen == packages | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE"}


def test_the_readme_names_the_image_of_the_settings() -> None:
    assert f"`{IMAGE}`" in (HOUSE / "k8s" / "README.md").read_text()
