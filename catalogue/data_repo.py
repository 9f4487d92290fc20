"""The data repository in `<home>/data`: git for what a version is, DVC for its bytes."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import whole_folder
from goodsight.settings import settings, silence_telemetry

GIT_SETTINGS = {
    "user.name": "Goodsight",
    "user.email": "goodsight@localhost",
    "commit.gpgsign": "false",
    "tag.gpgsign": "false",
    "core.autocrlf": "false",
    "core.hooksPath": "/dev/null",
    "core.excludesFile": "/dev/null",
}
REMOTE = "storage"
DROPPED = ".dropped"  # folder of the data repository: a file named after each version that was removed from the remote
LEFTOVERS = (".git/index.lock", ".git/HEAD.lock", ".git/refs/heads/main.lock", ".dvc/tmp/rwlock")


def git(root: Path, *arguments: str, given: str = "") -> str:
    """Output of a git command in `root` for the input `given`, apart from any git that may have started this process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], env=own, input=given, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise GoodsightError("git is not installed.", "Install git; versions of the data are kept with it.") from error
    except subprocess.CalledProcessError as error:
        raise GoodsightError(f"git {arguments[0]} failed in {root}: {error.stderr.strip()}") from error
    return done.stdout


def root_of(home: Path) -> Path:
    return home.resolve() / "data"


def quiet() -> None:
    """No calls home and no advice on git commands from DVC, which sets up its logger when imported."""
    silence_telemetry()
    import dvc.logger

    dvc.logger.setup()
    logging.getLogger("dvc").setLevel(logging.ERROR)


def dvc_settings(root: Path) -> dict[str, Any]:
    """Settings given each time: paths, which may move with home, and the remote of this process (GOODSIGHT_DATA_REMOTE)."""
    found: dict[str, Any] = {"core": {"site_cache_dir": str(root / ".dvc" / "tmp" / "site")}}
    if url := settings().data_remote:
        found["core"]["remote"] = REMOTE
        found["remote"] = {REMOTE: {"url": url}}
    return found


def configure(root: Path) -> None:
    """Makes git independent of what the user or the machine has set."""
    for name, value in GIT_SETTINGS.items():
        git(root, "config", name, value)


def make(root: Path) -> None:
    """Makes the data repository, whole or not at all."""
    from dvc.repo import Repo

    with whole_folder(root) as aside:
        git(aside, "init", "--quiet", "--initial-branch=main", "--template=")
        configure(aside)
        with Repo.init(str(aside)) as repo, repo.config.edit() as config:
            config["core"] |= {"analytics": False, "check_update": False}
            config["cache"]["type"] = ["reflink", "copy"]
        git(aside, "add", "--all")
        git(aside, "commit", "--quiet", "--message", "data repository")


def history(root: Path) -> list[tuple[datetime, str]]:
    """When which version was imported, oldest first: (time, tag). A version that was imported again is there again."""
    if not root.is_dir():
        return []
    tags = set(git(root, "tag").split())
    commits = (line.partition(" ") for line in git(root, "log", "--reverse", "--date-order", "--format=%cI %s").splitlines())
    told = ((datetime.fromisoformat(time), subject.partition(":")[0]) for time, _, subject in commits)
    return [(time, tag) for time, tag in told if tag in tags]


def name_of(tag: str) -> str:
    return tag.rpartition("-")[0]


def clear_leftovers(root: Path, name: str) -> None:
    """Removes what a killed store left behind. No other process writes here: the caller holds the lock."""
    for leftover in LEFTOVERS:
        (root / leftover).unlink(missing_ok=True)
    for aside in root.glob(f".{name}.*"):
        shutil.rmtree(aside)
