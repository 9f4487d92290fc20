"""The model archive of one version: candidate, index, `version.json` and one thin code file, made by torch-model-archiver.

The format is `no-archive`, a folder in the model store. Weights do not compress: for two bundles of 120 MB the default `.mar`
takes 11 s to make and is unpacked into a temporary folder again at every start, while the folder takes 1 s and is linked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from goodsight.digests import HOUSE
from goodsight.errors import GoodsightError, InputError
from goodsight.files import read_json, whole_folder, write_json

HANDLER = HOUSE / "serving" / "goodsight_handler.py"


def archive_name(version: str) -> str:
    """The name of a version in the model store. Raises `InputError` for one that is no plain word, like "7" or "1.2"."""
    if not version or not all(c.isascii() and (c.isalnum() or c in "._-") for c in version) or not version[0].isalnum():
        raise InputError(f"{version!r} is no model version.", 'Use letters, digits and ". _ -", like "7" or "1.2".')
    return f"goodsight-{version}"


def version_of(archive: str) -> str:
    """The version whose archive has this name."""
    return archive.removeprefix("goodsight-")


def _stage(candidate: Path, index: Path, version: str, folder: Path) -> None:
    """`folder` with what goes into the archive; the archiver copies what a link points at."""
    (folder / "files").mkdir()
    (folder / "out").mkdir()
    (folder / "files" / "candidate").symlink_to(candidate.resolve(), target_is_directory=True)
    (folder / "files" / "index").symlink_to(index.resolve(), target_is_directory=True)
    write_json(folder / "files" / "version.json", {"version": version, **digests(candidate, index)})


def digests(candidate: Path, index: Path) -> dict[str, str]:
    """The digests of the two, as their records give them; the bytes are checked when a server loads them."""
    records = {"candidate": candidate / "candidate.json", "index": index / "index.json"}
    return {name: read_json(path)["digest"] for name, path in records.items()}


def _run_archiver(name: str, version: str, staging: Path) -> Path:
    """Runs torch-model-archiver inside `staging`, where its relative paths and its temporary files are."""
    options = {"model-name": name, "version": version, "handler": str(HANDLER), "extra-files": "files"}
    options |= {"export-path": "out", "archive-format": "no-archive"}
    command = [sys.executable, "-m", "model_archiver.model_packaging", *(f"--{k}={v}" for k, v in options.items())]
    (staging / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(staging / "tmp")}
    done = subprocess.run(command, check=False, cwd=staging, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise GoodsightError(f"torch-model-archiver failed: {done.stderr.strip()[-500:]}")
    return staging / "out" / name


def build_archive(candidate: Path, index: Path, version: str, store: Path) -> Path:
    """Packs a version into the model store, whole or not at all, and returns the folder. An older one of this name goes."""
    name, store = archive_name(version), store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=".archive-") as staging:
        _stage(candidate, index, version, Path(staging))
        made = _run_archiver(name, version, Path(staging))
        with whole_folder(store / name) as folder:
            made.replace(folder)
            folder.chmod(0o755)
    return store / name
