"""Content digests: sha256 of bytes, JSON values, files, folders and of the code that a step runs."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

ROOMS = ("goodsight", "catalogue", "lineage", "models", "feature_repo", "serving", "monitoring", "components", "pipelines")
RULES = ("*.json", "*.yaml", "*.html")  # expectation suites, gate policy, feature store, pages
HOUSE = Path(__file__).resolve().parent.parent


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def key64(text: str) -> int:
    """64 bits of a digest of `text`: a key to look it up by in a sorted array."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN (RFC 8259)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_json(value: Any) -> str:
    return sha256_bytes(canonical_json(value).encode())


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_files(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below `folder`, sorted by path."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sha256_folder(folder: Path) -> str:
    """Digest of a folder: of its relative paths and bytes, not of times or modes. A single file is digested as itself."""
    return sha256_json(sha256_files(folder)) if folder.is_dir() else sha256_file(folder)


def _module_file(module: str) -> Path | None:
    base = HOUSE.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imported_modules(path: Path, changed: int) -> tuple[str, ...]:
    """What a file imports that was last changed at that time; the steps of a pipeline have most of their modules in common."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return tuple(found)


def code_files(module: str) -> dict[str, Path]:
    """The modules of our rooms that `module` imports, itself included, however deep and wherever in the file the import stands."""
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        path = _module_file(name)
        if name in found or path is None or name.split(".")[0] not in ROOMS:
            continue
        found[name] = path
        queue.extend(_imported_modules(path, path.stat().st_mtime_ns))
        queue.append(name.rpartition(".")[0])
    return dict(sorted(found.items()))


def code_listing(module: str) -> dict[str, str]:
    """Path -> sha256 of the code that `module` runs, and of the rules kept as data beside it."""
    files = set(code_files(module).values())
    for folder in {path.parent for path in files}:
        files |= {path for suffix in RULES for path in folder.rglob(suffix)}
    return {path.relative_to(HOUSE).as_posix(): sha256_file(path) for path in sorted(files)}


def code_digest(module: str) -> str:
    """Digest of what `code_listing` tells: part of the cache key of every step."""
    return sha256_json(code_listing(module))
