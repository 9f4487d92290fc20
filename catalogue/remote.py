"""Catalogue versions elsewhere: a DVC remote (GOODSIGHT_DATA_REMOTE: a folder, S3, ...) with the shards, and beside them the history.

The history is a git bundle of the data repository, `versions.bundle`. A push writes the shards first and the bundle last, so one
that was interrupted leaves the versions before it whole. A pull brings the history; the shards of a version come when it is fetched.
A version that was removed from the remote is marked as dropped in the history, so that no other home brings it back.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catalogue.data_repo import DROPPED, configure, dvc_settings, git, history, name_of, quiet, root_of
from goodsight.errors import GoodsightError, InputError
from goodsight.files import exclusive, write_bytes
from goodsight.settings import settings

BUNDLE = "versions.bundle"


def push(home: Path) -> list[str]:
    """Brings every version of this home to the remote and returns those that it had not.

    Raises `InputError` without a remote or versions, or when the remote has versions that this home has not.
    """
    root, url = root_of(home), _remote()
    if not history(root):
        raise InputError(f"{home} has no versions to push.", "Import a catalogue first.")
    with _locked(home, "pushing versions"), tempfile.TemporaryDirectory() as folder:
        theirs = _bundle(url, Path(folder))
        known = _tags_in(root, theirs) if theirs else {}
        if theirs and not _contains(root, theirs):
            raise InputError(f"{url} has versions that {home} has not.", "Run `goodsight catalogue pull` first.")
        _dvc(root, "push", workspace=False)
        _write(url, _joined(root, theirs, (_own_tags(root) | known.keys()) - _dropped(root), Path(folder)))
        return [tag for tag in dict.fromkeys(tag for _, tag in history(root)) if tag not in known]


def pull(home: Path) -> list[str]:
    """Brings the versions of the remote into this home, beside its own, and returns the new ones. Their bytes come when fetched.

    Versions that another home has dropped from the remote are forgotten here too; `collect` frees their bytes.
    Raises `InputError` without a remote, or when it has no versions.
    """
    root, url = root_of(home), _remote()
    with _locked(home, "pulling versions"), tempfile.TemporaryDirectory() as folder:
        theirs = _bundle(url, Path(folder))
        if theirs is None:
            raise InputError(f"{url} has no {BUNDLE}.", "Push versions to it first: `goodsight catalogue push`.")
        before = {tag for _, tag in history(root)}
        if not root.is_dir():
            git(home, "clone", "--quiet", "--branch", "main", str(theirs), str(root))
            configure(root)
            git(root, "remote", "remove", "origin")
        else:
            new = [f"refs/tags/{tag}:refs/tags/{tag}" for tag in _tags_in(root, theirs) if tag not in _own_tags(root)]
            git(root, "fetch", "--quiet", "--no-tags", str(theirs), "+refs/heads/main:refs/remotes/storage/main", *new)
            either = ("--allow-unrelated-histories", "--strategy-option", "theirs")  # homes that began apart may share a remote
            git(root, "merge", "--quiet", "--no-edit", *either, "refs/remotes/storage/main")
        _forget(root, _own_tags(root) & _dropped(root))
        return [tag for tag in dict.fromkeys(tag for _, tag in history(root)) if tag not in before]


def superfluous(home: Path, keep: int) -> list[str]:
    """The versions of this home older than the `keep` newest of their catalogue."""
    tags = list(dict.fromkeys(tag for _, tag in reversed(history(root_of(home)))))
    by_name: dict[str, list[str]] = {}
    for tag in tags:
        by_name.setdefault(name_of(tag), []).append(tag)
    return [tag for named in by_name.values() for tag in named[keep:]]


def collect(home: Path, keep: int) -> list[str]:
    """Forgets the superfluous versions of this home and frees their bytes; what the remote has stays. Returns them."""
    root, gone = root_of(home), superfluous(home, keep)
    with _locked(home, "removing versions"):
        _forget(root, gone)
        if root.is_dir():
            _dvc(root, "gc")
    return gone


def collect_remote(home: Path, keep: int) -> list[str]:
    """Like `collect`, and in the remote too: frees every byte there that no version left needs.

    Raises `InputError` without a remote, and when it and this home have not the same versions: what goes was seen, what stays is there.
    """
    root, url = root_of(home), _remote()
    with _locked(home, "removing versions"), tempfile.TemporaryDirectory() as folder:
        check_same(home)
        gone = superfluous(home, keep)
        _drop(root, gone)
        _forget(root, gone)
        left = _joined(root, None, _own_tags(root), Path(folder))
        _write(url, left)
        _free(left, Path(folder))
        _dvc(root, "gc")
    return gone


def check_same(home: Path) -> None:
    """Raises `InputError` like `collect_remote`."""
    root, url = root_of(home), _remote()
    with tempfile.TemporaryDirectory() as folder:
        theirs = _bundle(url, Path(folder))
        if theirs is None:
            raise InputError(f"{url} has no {BUNDLE}.", "There is nothing to remove.")
        known = _tags_in(root, theirs).keys() if root.is_dir() else set()
        if not known or not _contains(root, theirs) or known - _own_tags(root) - _dropped(root):
            raise InputError(f"{url} has versions that {home} has not.", "Run `goodsight catalogue pull` first, then see what would go.")
        if _own_tags(root) - known:
            raise InputError(f"{home} has versions that {url} has not.", "Run `goodsight catalogue push` first.")


def _drop(root: Path, tags: list[str]) -> None:
    """Marks versions as dropped, for every home that shares this history."""
    for tag in tags:
        write_bytes(root / DROPPED / tag, b"")
    if tags:
        git(root, "add", DROPPED)
        git(root, "commit", "--quiet", "--allow-empty", "--message", f"dropped {', '.join(tags)}")


def _dropped(root: Path) -> set[str]:
    return {path.name for path in (root / DROPPED).glob("*")}


def _forget(root: Path, tags: Iterable[str]) -> None:
    for tag in tags:
        git(root, "tag", "--delete", tag)


def _free(bundle: Path, folder: Path) -> None:
    """Frees the bytes in the remote that no version in the bundle needs; one that has lost its list of shards stops it."""
    clone = folder / "left"
    git(folder, "clone", "--quiet", "--branch", "main", str(bundle), str(clone))
    for pointer in clone.glob("?*.dvc"):
        pointer.unlink()  # what is checked out need not be a version
    _dvc(clone, "gc", cloud=True)


def _remote() -> str:
    url = settings().data_remote
    if not url:
        raise InputError("There is no remote for catalogue versions.", "Set GOODSIGHT_DATA_REMOTE to a folder or s3://bucket/path.")
    return url


@contextmanager
def _locked(home: Path, what: str) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(root_of(home).with_name("data.lock"), what):
        yield


def _dvc(root: Path, action: str, **options: Any) -> None:
    """`push` or `gc` of what the tags name."""
    quiet()
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root), config=dvc_settings(root)) as repo:
            getattr(repo, action)(all_tags=True, **options)
    except (DvcException, OSError) as error:
        raise GoodsightError(f"DVC could not {action}: {error}", "Nothing is lost: the same command goes on.") from error


def _bundle(url: str, folder: Path) -> Path | None:
    """The remote's history, copied into `folder`; None when it has none yet."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url)
        if not files.exists(f"{path}/{BUNDLE}"):
            return None
        files.get_file(f"{path}/{BUNDLE}", str(folder / f"theirs-{BUNDLE}"))
    except Exception as error:  # each store has errors of its own
        raise GoodsightError(f"{url} cannot be read: {error}", "Check GOODSIGHT_DATA_REMOTE and the credentials of the store.") from error
    return folder / f"theirs-{BUNDLE}"


def _joined(root: Path, theirs: Path | None, tags: Set[str], folder: Path) -> Path:
    """A bundle of this home's history with these versions, of its own and of the remote's (which this home may have removed)."""
    both = folder / "both"
    git(root, "clone", "--quiet", "--bare", str(root), str(both))
    _forget(both, _own_tags(both) - tags)
    if theirs and (missing := [f"refs/tags/{tag}:refs/tags/{tag}" for tag in tags - _own_tags(both)]):
        git(both, "fetch", "--quiet", "--no-tags", str(theirs), *missing)
    git(both, "bundle", "create", "--quiet", str(folder / BUNDLE), "--all")
    return folder / BUNDLE


def _own_tags(root: Path) -> set[str]:
    return set(git(root, "tag").split())


def _write(url: str, bundle: Path) -> None:
    """Puts the history into the remote, whole or not at all."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url)
    if "file" in files.protocol:
        aside = Path(path) / f".{BUNDLE}.{os.getpid()}"
        aside.write_bytes(bundle.read_bytes())
        os.replace(aside, Path(path) / BUNDLE)
    else:
        files.put_file(str(bundle), f"{path}/{BUNDLE}")  # an object appears when all of it is there


def _tags_in(root: Path, bundle: Path) -> dict[str, str]:
    """Tag -> object of a bundle."""
    heads = (line.split() for line in git(root, "bundle", "list-heads", str(bundle)).splitlines())
    return {name.removeprefix("refs/tags/"): commit for commit, name in heads if name.startswith("refs/tags/")}


def _contains(root: Path, bundle: Path) -> bool:
    """Whether this repository's history goes on from that of the bundle."""
    heads = (line.split() for line in git(root, "bundle", "list-heads", str(bundle)).splitlines())
    main = next(commit for commit, name in heads if name == "refs/heads/main")
    try:
        git(root, "merge-base", "--is-ancestor", main, "HEAD")
    except GoodsightError:
        return False
    return True
