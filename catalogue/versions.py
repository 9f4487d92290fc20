"""Versions of snapshots: a DVC repository in `<home>/data`, one git commit and one tag a version.

A tag is `<name>-<first 12 of the digest>`. It is set last, after the bytes are in DVC's cache and the commit is made,
so a store that was killed leaves the versions before it whole and no half one. The data repository holds every shard
once, in DVC's cache; what is fetched is a copy of its own (a clone where the file system can), so that harm to it is
no harm to the version.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catalogue.data_repo import DROPPED, clear_leftovers, dvc_settings, git, history, make, name_of, quiet, root_of
from catalogue.erasure import ERASED, erased, remember, without
from catalogue.importer import Before, import_catalogue
from catalogue.layouts.mapping import ColumnMapping
from catalogue.quarantine import release
from catalogue.snapshot import Snapshot
from catalogue.update import import_update, inherit_releases
from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.files import exclusive, whole_folder, write_json
from goodsight.times import end_of

DIGEST = re.compile(r"[0-9a-f]{6,64}")


def resolve(wanted: str, home: Path) -> str:
    """The revision that `wanted` means: a revision, a digest or its first 6 letters or more, the name of a catalogue (its newest
    version), or an ISO 8601 date or time (the newest version by then, of all or as `name@date` of one catalogue).

    Raises `InputError` when it means none, or several.
    """
    imports = history(root_of(home))
    tags = list(dict.fromkeys(tag for _, tag in imports))
    if wanted in tags:
        return wanted
    digest = wanted.lower()
    found = [tag for tag in tags if DIGEST.fullmatch(digest) and tag.rpartition("-")[2].startswith(digest[:12])]
    name, _, date = wanted.rpartition("@")
    until = end_of(date)
    if not found and until is not None:
        found = [tag for time, tag in imports if time <= until and name in ("", name_of(tag))][-1:]
    if not found and not name:
        found = [tag for tag in [_newest(home, wanted)] if tag]
    if len(found) == 1:
        return found[0]
    several = f"{wanted!r} is short for {' and '.join(found)}." if found else f"there is no version {wanted!r} of the data."
    raise InputError(several, "`goodsight catalogue list` shows all versions.")


def _commit(root: Path, snapshot: Snapshot, name: str, tag: str) -> None:
    """Brings the snapshot into the data repository as `<name>/`, commits its pointer and sets the tag."""
    from dvc.repo import Repo

    clear_leftovers(root, name)
    with whole_folder(root / name) as aside:
        shutil.copytree(snapshot.folder, aside, dirs_exist_ok=True)
    with Repo(str(root), config=dvc_settings(root)) as repo:
        repo.add([str(root / name)])
    shutil.rmtree(root / name)  # the cache has the bytes
    write_json(root / f"{name}.json", snapshot.manifest)
    git(root, "add", ".gitignore", f"{name}.dvc", f"{name}.json")
    git(root, "rm", "--quiet", "--ignore-unmatch", f"{DROPPED}/{tag}")
    git(root, "commit", "--quiet", "--allow-empty", "--message", _message(snapshot, tag))
    git(root, "tag", "--annotate", "--message", snapshot.digest, tag)


def _commit_again(root: Path, snapshot: Snapshot, name: str, tag: str) -> None:
    """Makes a version that is kept the newest of its name."""
    clear_leftovers(root, name)
    git(root, "checkout", "--quiet", tag, "--", f"{name}.dvc", f"{name}.json")
    git(root, "commit", "--quiet", "--allow-empty", "--message", _message(snapshot, tag))


def _message(snapshot: Snapshot, tag: str) -> str:
    return f"{tag}: {snapshot.manifest['counts']['products']} products"


def import_version(
    path: Path, name: str, home: Path, layout: str = "", mapping: ColumnMapping | None = None, update: bool = False
) -> str:
    """Imports the catalogue at `path` and keeps it as a version of `name`; the same input gives the same revision.

    With `update` it holds the changes since the newest version of `name` (`catalogue.update`). Raises `InputError` without
    such a version, and `BusyError` when another import made a newer one meanwhile.
    """
    home.mkdir(parents=True, exist_ok=True)
    name = _safe(name)
    newest = _needed(home, name) if update else _newest(home, name)
    version = describe(newest, home) if newest else {}
    before = Before(version.get("digest"), erased=erased(name, home))
    with tempfile.TemporaryDirectory(dir=home, prefix=".import-") as folder:
        aside = Path(folder)
        if update:
            import_update(path, fetch(newest, home, aside / "parent"), aside / "snapshot", layout, mapping, before)
            return store(aside / "snapshot", home, name, newest)
        import_catalogue(path, aside / "snapshot", layout, mapping, before)
        if not version or not version["counts"].get("releases"):
            return store(aside / "snapshot", home, name)
        parent = Snapshot.open(fetch(newest, home, aside / "parent"))
        inherit_releases(parent, Snapshot.open(aside / "snapshot"), aside / "released")
        return store(aside / "released", home, name)


def release_version(revision: str, home: Path, quarantine: list[dict[str, Any]], ids: Sequence[str], reason: str, by: str) -> str:
    """Keeps the newest version of a catalogue with releases of the given quarantined rows (`quarantine.release`); returns it.

    Raises `InputError` like `release` and for a version that is not the newest, and `BusyError` like `store`.
    """
    name = name_of(revision)
    if revision != _newest(home, name):
        raise InputError(f"{revision} is not the newest version of {name}.", f"Release rows of {_newest(home, name)}.")
    with tempfile.TemporaryDirectory(dir=home, prefix=".release-") as folder:
        snapshot = Snapshot.open(fetch(revision, home, Path(folder) / "snapshot"))
        release(snapshot, quarantine, ids, reason, by, Path(folder) / "released")
        return store(Path(folder) / "released", home, name, revision)


def erase_version(name: str, identity: str, home: Path) -> tuple[str, list[str]]:
    """Takes a product out of the catalogue `name` for good (`catalogue.erasure`).

    Returns the newest version, now without it, and the versions that still hold its bytes, oldest first. Raises `InputError`
    when no version has the product, and `BusyError` like `store`.
    """
    name = _safe(name)
    newest = _needed(home, name)
    holding = []
    for revision in dict.fromkeys(tag for _, tag in history(root_of(home)) if name_of(tag) == name):
        with opened(revision, home) as (snapshot, _):
            if identity in snapshot.products(["id"])["id"].to_pylist():
                holding.append(revision)
    if not holding:
        raise InputError(f"No version of {name} has a product {identity!r}.", "Nothing was erased.")
    remember(name, identity, home)
    with opened(newest, home) as (snapshot, _), tempfile.TemporaryDirectory(dir=home, prefix=".erasure-") as folder:
        without(snapshot, identity, Path(folder) / "snapshot")
        return store(Path(folder) / "snapshot", home, name, newest), holding


def _newest(home: Path, name: str) -> str:
    """The version of catalogue `name` that was imported last; empty when there is none."""
    return next((tag for _, tag in reversed(history(root_of(home))) if name_of(tag) == name), "")


def _needed(home: Path, name: str) -> str:
    """The newest version of catalogue `name`. Raises `InputError` when there is none."""
    if newest := _newest(home, name):
        return newest
    raise InputError(f"there is no catalogue {name!r} in {home}.", "`goodsight catalogue list` shows all versions.")


def _safe(name: str) -> str:
    """`name` as a tag can have it. Raises `InputError` for the one that is taken in the data repository."""
    if (safe := re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "catalogue") == ERASED:
        raise InputError(f"A catalogue cannot be called {ERASED!r}.", "Give it another name: --name.")
    return safe


def store(snapshot_folder: Path, home: Path, name: str, parent: str = "") -> str:
    """Keeps the snapshot as a version of the catalogue `name` and returns its revision (the tag).

    A digest that is kept already is not stored again, it becomes the newest of its name. Raises `BusyError` while another
    process stores or when `parent` is given and no longer the newest version of `name`, and `InputError` or `IntegrityError`
    when the snapshot is not whole.
    """
    snapshot = Snapshot.open(snapshot_folder)
    name = _safe(name)
    tag = f"{name}-{snapshot.digest[:12]}"
    root = root_of(home)
    quiet()
    with exclusive(root.with_name("data.lock"), "storing a version of the data"):
        if not root.is_dir():
            make(root)
        newest = _newest(home, name)
        if parent not in ("", newest):
            raise BusyError(f"{newest} was imported while the changes to {parent} were read.", "Import the changes again.")
        if tag not in (each for _, each in history(root)):
            _commit(root, snapshot, name, tag)
        elif tag != newest:
            _commit_again(root, snapshot, name, tag)
    return tag


def describe(revision: str, home: Path) -> dict[str, Any]:
    """The manifest of a version (as `resolve` takes it), with `revision` and `name`. Raises `InputError` when there is none."""
    root = root_of(home)
    revision = resolve(revision, home)
    name = name_of(revision)
    manifest = json.loads(git(root, "show", f"refs/tags/{revision}:{name}.json"))
    return manifest | {"revision": revision, "name": name}


def list_versions(home: Path) -> list[dict[str, Any]]:
    """Every version as `describe` gives it, oldest first."""
    return [describe(tag, home) for tag in dict.fromkeys(tag for _, tag in history(root_of(home)))]


def fetch(revision: str, home: Path, out: Path) -> Path:
    """Writes the snapshot of a version to folder `out`, the very bytes that were stored, and returns `out`.

    Raises `InputError` for an unknown version and `IntegrityError` when its bytes are lost or have changed.
    """
    version = describe(revision, home)
    revision = version["revision"]
    again = "Import the catalogue again into another home, or pull the data from its DVC remote."
    quiet()
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    root = root_of(home)
    with whole_folder(out) as aside:
        try:
            kept = DVCFileSystem(str(root), rev=revision, config=dvc_settings(root))
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
