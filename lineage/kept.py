"""Models and indexes as they lie in home: found by their digest, and checked by it and by their signature.

A copy of a registered model is in MLflow's artifacts and, while it serves or may be rolled back to, in the model store. The usual
check compares every file but the large ones; a deep one reads every byte. Nothing here imports MLflow or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file, sha256_json
from goodsight.errors import GoodsightError, IntegrityError
from goodsight.files import read_json
from goodsight.settings import settings
from lineage import signing
from lineage.graph import State

ARRAYS = (".safetensors", ".faiss", ".parquet", ".arrow", ".npy")
LARGE = 4 * 2**20  # bytes; a file of more is read by a deep check alone
STORE, ARTIFACTS = "serving/store", "mlartifacts"
HINT = "Restore it from a backup, or serve another version: goodsight models list"


def candidates(home: Path, version: str, digest: str) -> list[Path]:
    """Every copy of the candidate that was registered as `version`."""
    found = [home / STORE / f"goodsight-{version}" / "candidate"] if version else []
    found += [folder for folder in home.glob(f"{ARTIFACTS}/*/artifacts/candidate") if digest in _names(folder)]
    return [path for path in found if path.is_dir()]


def indexes(home: Path, version: str, digest: str) -> list[Path]:
    """Every copy of the index that `version` serves with."""
    found = [home / STORE / f"goodsight-{version}" / "index"] if version else []
    found += home.glob(f"{ARTIFACTS}/*/artifacts/index/{digest}")
    found += [path.parent for path in home.glob("pipeline/*/*/index/index.json") if read_object(path).get("digest") == digest]
    return [path for path in found if path.is_dir()]


def _names(folder: Path) -> set[str]:
    """The digests that a candidate's record and its bundles' manifests tell: an altered copy is still found by one of them."""
    bundles = {path.parent.name: read_object(path).get("digest") for path in folder.glob("*/manifest.json")}
    return {str(read_object(folder / "candidate.json").get("digest")), sha256_json(bundles)}


def check_candidate(folder: Path, digest: str, deep: bool) -> str:
    """How the candidate in `folder` was found to be the one of `digest`. Raises `IntegrityError` naming what is not."""
    how = _check_files(folder, deep)
    record = _object(folder / "candidate.json")
    if not record.get("digest") == digest == sha256_json(record.get("bundles")):
        raise IntegrityError(f"{folder / 'candidate.json'} is not that of candidate {digest[:12]}.", HINT)
    return how


def check_bundle(folder: Path, digest: str, deep: bool) -> str:
    """How the bundle in `folder`, one task of a candidate, was found to be the one of `digest`. Raises `IntegrityError` likewise."""
    manifest = _object(folder / "manifest.json")
    if not manifest.get("digest") == digest == sha256_json(manifest.get("files")):
        raise IntegrityError(f"{folder / 'manifest.json'} is not that of bundle {digest[:12]}.", HINT)
    files = as_object(manifest.get("files"))
    _compare(folder, files, deep)
    return "every byte matches" if deep else f"digests match{_unread(folder, files)}"


def check_index(folder: Path, digest: str, deep: bool) -> str:
    """How the index in `folder` was found to be the one of `digest`. Raises `IntegrityError` naming what is not."""
    how = _check_files(folder, deep)
    record = _object(folder / "index.json")
    content = {name: value for name, value in record.items() if name != "digest"}
    if not record.get("digest") == digest == sha256_json(content):
        raise IntegrityError(f"{folder / 'index.json'} is not that of index {digest[:12]}.", HINT)
    _compare(folder, as_object(record.get("files")), deep)
    return how


def _check_files(folder: Path, deep: bool) -> str:
    """Compares what is there with what was signed, and says by whom: whatever is kept was signed. Raises `IntegrityError`."""
    if settings().signer and not deep:
        return "the record has this digest; its files and the signature by Sigstore were not read (--deep)"
    if deep:
        return f"every byte matches, signature by {signing.verify(folder)[:12]}"
    signer, files = signing.signed_files(folder)
    _compare(folder, files, deep)
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if unsigned := sorted(here - files.keys() - {signing.SIGNATURE}):
        raise IntegrityError(f"{folder / unsigned[0]} was not signed.", HINT)
    return f"digests match, signature by {signer[:12]}{_unread(folder, files)}"


def _compare(folder: Path, files: dict[str, str], deep: bool) -> None:
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{path} is missing.", HINT)
        if (deep or path.stat().st_size <= LARGE) and sha256_file(path) != digest:
            raise IntegrityError(f"{path} is not the file that was made.", HINT)


def _unread(folder: Path, files: dict[str, str]) -> str:
    count = sum((folder / name).stat().st_size > LARGE for name in files)
    return f", {count} large file{'s' if count > 1 else ''} not read (--deep)" if count else ""


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises `IntegrityError` when there is none."""
    if found := read_object(path):
        return found
    raise IntegrityError(f"{path} is missing or no JSON object.", HINT)


def documents(folder: Path) -> Iterator[Path]:
    """What a registered model says in words and figures: every file of it but weights and tables."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in ARRAYS)


def checked(copies: Sequence[Path], check: Callable[[Path], str]) -> tuple[State, str]:
    """The worst that a check finds among copies, and how."""
    try:
        return "verified", [check(copy) for copy in copies][0]
    except GoodsightError as error:
        return "altered", error.message


def places(copies: Sequence[Path], home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in copies]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or an empty one where there is none: to tell of it, once its bytes are checked elsewhere."""
    try:
        return as_object(read_json(path))
    except GoodsightError:
        return {}


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
