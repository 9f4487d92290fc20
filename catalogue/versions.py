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
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catalogue.importer import import_catalogue
from catalogue.layouts.mapping import Mapping
from catalogue.quarantine import release
from catalogue.snapshot import Snapshot
from catalogue.update import import_update, inherit_releases
from goodsight.errors import BusyError, GoodsightError, InputError, IntegrityError
from goodsight.files import exclusive, whole_folder, write_json
from goodsight.settings import silence_telemetry

DIGEST = re.compile(r"[0-9a-f]{6,64}")
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


def _history(root: Path) -> list[tuple[datetime, str]]:
    """When which version was imported, oldest first: (time, tag). A version that was imported again is there again."""
    if not root.is_dir():
        return []
    tags = set(_git(root, "tag").split())
    commits = (line.partition(" ") for line in _git(root, "log", "--reverse", "--topo-order", "--format=%cI %s").splitlines())
    told = ((datetime.fromisoformat(time), subject.partition(":")[0]) for time, _, subject in commits)
    return [(time, tag) for time, tag in told if tag in tags]


def _name_of(tag: str) -> str:
    return tag.rpartition("-")[0]


def resolve(wanted: str, home: Path) -> str:
    """The revision that `wanted` means: a revision, a digest or its first 6 letters or more, the name of a catalogue (its newest
    version), or an ISO 8601 date or time (the newest version by then, of all or as `name@date` of one catalogue).

    Raises `InputError` when it means none, or several.
    """
    history = _history(_root(home))
    tags = list(dict.fromkeys(tag for _, tag in history))
    if wanted in tags:
        return wanted
    digest = wanted.lower()
    found = [tag for tag in tags if DIGEST.fullmatch(digest) and tag.rpartition("-")[2].startswith(digest[:12])]
    name, _, date = wanted.rpartition("@")
    until = _end_of(date)
    if not found and until is not None:
        found = [tag for time, tag in history if time <= until and name in ("", _name_of(tag))][-1:]
    if not found and not name:
        found = [tag for tag in [_newest(home, wanted)] if tag]
    if len(found) == 1:
        return found[0]
    several = f"{wanted!r} is short for {' and '.join(found)}." if found else f"there is no version {wanted!r} of the data."
    raise InputError(several, "`goodsight catalogue list` shows all versions.")


def _end_of(date: str) -> datetime | None:
    """The last instant of a day, or the time given, in UTC where it names no zone; None for what is neither."""
    try:
        time = datetime.fromisoformat(date)
    except ValueError:
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return time + timedelta(days=1) - timedelta(microseconds=1) if len(date) == len("2026-01-31") else time


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
    _git(root, "commit", "--quiet", "--allow-empty", "--message", _message(snapshot, tag))
    _git(root, "tag", "--annotate", "--message", snapshot.digest, tag)


def _commit_again(root: Path, snapshot: Snapshot, name: str, tag: str) -> None:
    """Makes a version that is kept the newest of its name."""
    _clear_leftovers(root, name)
    _git(root, "checkout", "--quiet", tag, "--", f"{name}.dvc", f"{name}.json")
    _git(root, "commit", "--quiet", "--allow-empty", "--message", _message(snapshot, tag))


def _message(snapshot: Snapshot, tag: str) -> str:
    return f"{tag}: {snapshot.manifest['counts']['products']} products"


def import_version(
    path: Path, name: str, home: Path, layout: str = "", mapping: Mapping | None = None, update: bool = False
) -> str:
    """Imports the catalogue at `path` and keeps it as a version of `name`; the same input gives the same revision.

    With `update` it holds the changes since the newest version of `name` (`catalogue.update`). Raises `InputError` without
    such a version, and `BusyError` when another import made a newer one meanwhile.
    """
    home.mkdir(parents=True, exist_ok=True)
    newest = resolve(_safe(name), home) if update else _newest(home, _safe(name))
    with tempfile.TemporaryDirectory(dir=home, prefix=".import-") as folder:
        aside = Path(folder)
        if update:
            import_update(path, fetch(newest, home, aside / "parent"), aside / "snapshot", layout, mapping)
            return store(aside / "snapshot", home, name, newest)
        before = describe(newest, home) if newest else {}
        import_catalogue(path, aside / "snapshot", layout, mapping, parent=before.get("digest"))
        if not before or not before["counts"]["releases"]:
            return store(aside / "snapshot", home, name)
        parent = Snapshot.open(fetch(newest, home, aside / "parent"))
        inherit_releases(parent, Snapshot.open(aside / "snapshot"), aside / "released")
        return store(aside / "released", home, name)


def release_version(revision: str, home: Path, quarantine: list[dict[str, Any]], ids: Sequence[str], reason: str, by: str) -> str:
    """Keeps the newest version of a catalogue with releases of the given quarantined rows (`quarantine.release`); returns it.

    Raises `InputError` like `release` and for a version that is not the newest, and `BusyError` like `store`.
    """
    name = _name_of(revision)
    if revision != _newest(home, name):
        raise InputError(f"{revision} is not the newest version of {name}.", f"Release rows of {_newest(home, name)}.")
    with tempfile.TemporaryDirectory(dir=home, prefix=".release-") as folder:
        snapshot = Snapshot.open(fetch(revision, home, Path(folder) / "snapshot"))
        release(snapshot, quarantine, ids, reason, by, Path(folder) / "released")
        return store(Path(folder) / "released", home, name, revision)


def _newest(home: Path, name: str) -> str:
    """The version of catalogue `name` that was imported last; empty when there is none."""
    return next((tag for _, tag in reversed(_history(_root(home))) if _name_of(tag) == name), "")


def _safe(name: str) -> str:
    """`name` as a tag can have it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "catalogue"


def store(snapshot_folder: Path, home: Path, name: str, parent: str = "") -> str:
    """Keeps the snapshot as a version of the catalogue `name` and returns its revision (the tag).

    A digest that is kept already is not stored again, it becomes the newest of its name. Raises `BusyError` while another
    process stores or when `parent` is given and no longer the newest version of `name`, and `InputError` or `IntegrityError`
    when the snapshot is not whole.
    """
    snapshot = Snapshot.open(snapshot_folder)
    name = _safe(name)
    tag = f"{name}-{snapshot.digest[:12]}"
    root = _root(home)
    _quiet()
    with exclusive(root.with_name("data.lock"), "storing a version of the data"):
        if not root.is_dir():
            _init(root)
        newest = _newest(home, name)
        if parent not in ("", newest):
            raise BusyError(f"{newest} was imported while the changes to {parent} were read.", "Import the changes again.")
        if tag not in (each for _, each in _history(root)):
            _commit(root, snapshot, name, tag)
        elif tag != newest:
            _commit_again(root, snapshot, name, tag)
    return tag


def describe(revision: str, home: Path) -> dict[str, Any]:
    """The manifest of a version (as `resolve` takes it), with `revision` and `name`. Raises `InputError` when there is none."""
    root = _root(home)
    revision = resolve(revision, home)
    name = revision.rpartition("-")[0]
    manifest = json.loads(_git(root, "show", f"refs/tags/{revision}:{name}.json"))
    return manifest | {"revision": revision, "name": name}


def list_versions(home: Path) -> list[dict[str, Any]]:
    """Every version as `describe` gives it, oldest first."""
    return [describe(tag, home) for tag in dict.fromkeys(tag for _, tag in _history(_root(home)))]


def fetch(revision: str, home: Path, out: Path) -> Path:
    """Writes the snapshot of a version to folder `out`, the very bytes that were stored, and returns `out`.

    Raises `InputError` for an unknown version and `IntegrityError` when its bytes are lost or have changed.
    """
    version = describe(revision, home)
    revision = version["revision"]
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


@contextmanager
def opened(revision: str, home: Path) -> Iterator[tuple[Snapshot, str]]:
    """The snapshot of a version (as `resolve` takes it), in a folder that goes at the end, and its revision."""
    with tempfile.TemporaryDirectory(dir=home, prefix=".version-") as folder:
        revision = resolve(revision, home)
        yield Snapshot.open(fetch(revision, home, Path(folder) / "snapshot")), revision
