"""A version of the data found by its digest, or by a product in it, without fetching one: from git and from DVC's cache.

Kept light: reading manifests imports no pyarrow, and looking for a product reads the ids of each shard once, wherever it is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogue.data_repo import git, name_of, root_of
from catalogue.manifest import as_written

POINTER = re.compile(r"md5: ([0-9a-f]{32}\.dir)")


@dataclass(frozen=True)
class Version:
    """A version in the data repository. `digest` is the one that its tag tells; the manifest, whose own it is, may have been altered."""

    revision: str
    digest: str
    commit: str
    manifest: dict[str, Any]
    pointer: str  # md5 of DVC's list of files

    @property
    def whole(self) -> bool:
        """Whether the manifest is the one that was stored, with the digest of the tag."""
        return self.manifest.get("digest") == self.digest and as_written(self.manifest)


def versions(home: Path, start: str = "") -> list[Version]:
    """The versions whose revision is `start` or whose digest starts with it, oldest first; all of them without."""
    root = root_of(home)
    if not root.is_dir():
        return []
    told = git(root, "for-each-ref", "--sort=creatordate", "--format=%(refname:short) %(*objectname) %(contents:subject)", "refs/tags")
    tags = [tag for tag in map(str.split, told.splitlines()) if len(tag) == 3 and (tag[0] == start or tag[2].startswith(start))]
    texts = _texts(root, [f"{commit}:{name_of(revision)}.{kind}" for revision, commit, _ in tags for kind in ("json", "dvc")])
    return [
        Version(revision, digest, commit, _object(manifest), found[1] if (found := POINTER.search(pointer)) else "")
        for (revision, commit, digest), manifest, pointer in zip(tags, texts[::2], texts[1::2], strict=True)
    ]


def _texts(root: Path, names: list[str]) -> list[str]:
    """The texts of files as git keeps them, each named as `commit:path`, by one process; one that is not there is empty."""
    told, place, texts = git(root, "cat-file", "--batch", given="".join(f"{name}\n" for name in names)).encode(), 0, []
    for _ in names:
        end = told.index(b"\n", place)
        head = told[place:end].split()
        size = int(head[2]) if len(head) == 3 else 0
        place = end + 1 + (size + 1 if len(head) == 3 else 0)
        texts.append(told[end + 1 : end + 1 + size].decode())
    return texts


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def with_shard(digest: str, home: Path) -> list[Version]:
    """The versions that have a shard with this sha256."""
    return [version for version in versions(home) if digest.lower() in (version.manifest.get("files") or {}).values()]


@dataclass(frozen=True)
class Holding:
    """A version that has a product: in how many rows, and how many of them validation took out."""

    version: Version
    rows: int
    quarantined: int

    @property
    def kept(self) -> bool:
        """Whether what was made of the version knows the product."""
        return self.rows > self.quarantined


def having(product: str, home: Path) -> tuple[list[Holding], list[Version]]:
    """The versions that have a product with this id, and those whose bytes are not in this home, of which nobody can say."""
    counted: dict[Path, int] = {}
    found, unknown = [], []
    for version in versions(home):
        shards = list(_shards(version, home))
        if not shards or not all(shard.is_file() for shard in shards):
            unknown.append(version)
        elif rows := sum(_count(shard, product, counted) for shard in shards):
            aside = home / "validations" / version.digest[:12] / "quarantine.parquet"
            found.append(Holding(version, rows, _count(aside, product, counted) if aside.is_file() else 0))
    return found, unknown


def _shards(version: Version, home: Path) -> Iterator[Path]:
    """Where DVC keeps the product shards of a version; none when its list of files is not here."""
    kept = _kept(home, version.pointer)
    for file in json.loads(kept.read_text()) if version.pointer and kept.is_file() else ():
        if file["relpath"].startswith("products/"):
            yield _kept(home, file["md5"])


def _kept(home: Path, md5: str) -> Path:
    return root_of(home) / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _count(file: Path, product: str, counted: dict[Path, int]) -> int:
    """How many rows of a shard, or of a quarantine, are of a product."""
    from pyarrow.parquet import ParquetFile

    if file not in counted:
        with ParquetFile(file) as opened:
            names = [name for name in ("id", "kind") if name in opened.schema_arrow.names]
            columns = [column.to_pylist() for column in opened.read(columns=names).columns]  # a scalar of Arrow's imports pandas
        wanted = (product, "product")[: len(names)]
        counted[file] = sum(row == wanted for row in zip(*columns, strict=True))
    return counted[file]
