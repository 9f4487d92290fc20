"""Versions of snapshots: a DVC repository in `<home>/data`, one git commit and one tag a version.

A tag is `<name>-<first 12 of the digest>`. It is set last, after the bytes are in DVC's cache and the commit is made,
so a store that was killed leaves the versions before it whole and no half one. The data repository holds every shard
once, in DVC's cache; what is fetched is a copy of its own (a clone where the file system can), so that harm to it is
no harm to the version.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from catalogue.snapshot import Snapshot
from goodsight.errors import GoodsightError, InputError, IntegrityError
from goodsight.files import exclusive, whole_folder, write_json
from goodsight.settings import silence_telemetry

TAG = re.compile(r"tag: ([A-Za-z0-9_-]+-[0-9a-f]{12})\b")
GIT_SETTINGS = {
    "user.name": "Goodsight",
    "user.email": "goodsight@localhost",
    "commit.gpgsign": "false",
    "tag.gpgsign": "false",
    "core.autocrlf": "false",
    "core.hooksPath": "/dev/null",
    "core.excludesFile": "/dev/null",
}
LEFTOVERS = (".git/index.lock", ".git/HEAD.lock", ".git/refs/heads/main.lock", ".dvc/tmp/rwlock")


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command in `root`, apart from any git that may have started this process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], env=own, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise GoodsightError("git is not installed.", "Install git; versions of the data are kept with it.") from error
    except subprocess.CalledProcessError as error:
        raise GoodsightError(f"git {arguments[0]} failed in {root}: {error.stderr.strip()}") from error
    return done.stdout


def _root(home: Path) -> Path:
    return home.resolve() / "data"


def _quiet() -> None:
    """No calls home and no advice on git commands from DVC, which sets up its logger when imported."""
    silence_telemetry()
    import dvc.logger

    dvc.logger.setup()
    logging.getLogger("dvc").setLevel(logging.ERROR)


def _dvc_settings(root: Path) -> dict[str, Any]:
    """Settings given each time, since their paths may move with home."""
    return {"core": {"site_cache_dir": str(root / ".dvc" / "tmp" / "site")}}


def _init(root: Path) -> None:
    """Makes the data repository, whole or not at all."""
    from dvc.repo import Repo

    with whole_folder(root) as aside:
        _git(aside, "init", "--quiet", "--initial-branch=main", "--template=")
        for name, value in GIT_SETTINGS.items():
            _git(aside, "config", name, value)
        with Repo.init(str(aside)) as repo, repo.config.edit() as config:
            config["core"] |= {"analytics": False, "check_update": False}
            config["cache"]["type"] = ["reflink", "copy"]
        _git(aside, "add", "--all")
        _git(aside, "commit", "--quiet", "--message", "data repository")


def _tags(root: Path) -> list[str]:
    """Tags of versions from oldest to newest, by the order of their commits (times have whole seconds only)."""
    if not root.is_dir():
        return []
    return TAG.findall(_git(root, "log", "--reverse", "--topo-order", "--decorate-refs=refs/tags/*", "--format=%D"))


def _clear_leftovers(root: Path, name: str) -> None:
    """Removes what a killed store left behind. No other process writes here: the caller holds the lock."""
    for leftover in LEFTOVERS:
        (root / leftover).unlink(missing_ok=True)
    for aside in root.glob(f".{name}.*"):
        shutil.rmtree(aside)


def _commit(root: Path, snapshot: Snapshot, name: str, tag: str) -> None:
    """Brings the snapshot into the data repository as `<name>/`, commits its pointer and sets the tag."""
    from dvc.repo import Repo

    _clear_leftovers(root, name)
    with whole_folder(root / name) as aside:
        shutil.copytree(snapshot.folder, aside, dirs_exist_ok=True)
    with Repo(str(root), config=_dvc_settings(root)) as repo:
        repo.add([str(root / name)])
    shutil.rmtree(root / name)  # the cache has the bytes
    write_json(root / f"{name}.json", snapshot.manifest)
    _git(root, "add", ".gitignore", f"{name}.dvc", f"{name}.json")
    message = f"{tag}: {snapshot.manifest['counts']['products']} products"
    _git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    _git(root, "tag", "--annotate", "--message", snapshot.digest, tag)


def store(snapshot_folder: Path, home: Path, name: str) -> str:
    """Keeps the snapshot as a version of the catalogue `name` and returns its revision (the tag).

    A digest that is kept already is not committed again. Raises `BusyError` while another process stores, and
    `InputError` or `IntegrityError` when the snapshot is not whole.
    """
    snapshot = Snapshot.open(snapshot_folder)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "catalogue"
    tag = f"{name}-{snapshot.digest[:12]}"
    root = _root(home)
    _quiet()
    with exclusive(root.with_name("data.lock"), "storing a version of the data"):
        if not root.is_dir():
            _init(root)
        if tag not in _tags(root):
            _commit(root, snapshot, name, tag)
    return tag


def describe(revision: str, home: Path) -> dict[str, Any]:
    """The manifest of a version, with `revision` and `name`. Raises `InputError` when there is no such version."""
    root = _root(home)
    if revision not in _tags(root):
        raise InputError(f"there is no version {revision!r} of the data.", "`goodsight catalogue list` shows them.")
    name = revision.rpartition("-")[0]
    manifest = json.loads(_git(root, "show", f"refs/tags/{revision}:{name}.json"))
    return manifest | {"revision": revision, "name": name}


def list_versions(home: Path) -> list[dict[str, Any]]:
    """Every version as `describe` gives it, oldest first."""
    return [describe(tag, home) for tag in _tags(_root(home))]


def fetch(revision: str, home: Path, out: Path) -> Path:
    """Writes the snapshot of a version to folder `out`, the very bytes that were stored, and returns `out`.

    Raises `InputError` for an unknown version and `IntegrityError` when its bytes are lost or have changed.
    """
    version = describe(revision, home)
    again = "Import the catalogue again into another home, or pull the data from its DVC remote."
    _quiet()
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    root = _root(home)
    with whole_folder(out) as aside:
        try:
            kept = DVCFileSystem(str(root), rev=revision, config=_dvc_settings(root))
            kept.get(f"{version['name']}/", f"{aside}/", recursive=True)
        except (OSError, DvcException) as error:
            raise IntegrityError(f"version {revision} of the data cannot be read: {error}", again) from error
        if Snapshot.open(aside).digest != version["digest"]:
            raise IntegrityError(f"version {revision} of the data holds another snapshot", again)
    return out
