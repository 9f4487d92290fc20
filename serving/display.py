"""What the served index shows beside its answers: thumbnails and facets, opened once a version."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file
from goodsight.errors import IntegrityError, NotFoundError
from goodsight.files import read_json
from serving.index import RECORD
from serving.listing import FACETS
from serving.thumbnails import THUMBNAILS, Thumbnails


@dataclass(frozen=True)
class _Opened:
    index: tuple[Path, str]  # folder and digest
    facets: dict[str, Any]
    thumbnails: Thumbnails


class Display:
    """Of the index in the folder that `served` names at the time of a call. Calls may come from several threads."""

    def __init__(self, served: Callable[[], Path]) -> None:
        self._served, self._lock = served, threading.Lock()
        self._opened: _Opened | None = None

    def facets(self) -> dict[str, Any]:
        """What products can be filtered by: categories, the range of prices, attributes, with their numbers of products."""
        return self._open().facets

    def thumbnail(self, id: str) -> bytes:
        """The WebP of a product. Raises `NotFoundError` for one that is not there or has no picture."""
        thumbnails = self._open().thumbnails
        image = thumbnails.of(id)
        if image is None:
            raise NotFoundError("There is no picture of this product.", "Take ids from the answers of this version.")
        return image

    def _open(self) -> _Opened:
        """Raises `IntegrityError` when a file is not the one that the index was made with."""
        folder = self._served()
        record = read_json(folder / RECORD)
        with self._lock:
            if self._opened is None or self._opened.index != (folder, record["digest"]):
                self._opened = _checked(folder, record)
            return self._opened


def _checked(folder: Path, record: dict[str, Any]) -> _Opened:
    """The two files, once their digests are those of the record, which the model server found to be right."""
    known = record["files"]
    for name in (FACETS, THUMBNAILS):
        if name not in known:
            raise NotFoundError(f"The index {folder} has no {name}.", "Make it again with this release: goodsight run")
        if sha256_file(folder / name) != known[name]:
            raise IntegrityError(f"{folder / name} was altered: its digest does not match.", "Make the index again.")
    return _Opened((folder, record["digest"]), read_json(folder / FACETS), Thumbnails(folder))


def served(home: Path) -> Callable[[], Path]:
    """Where the index is that is deployed in `home`. What it returns raises `NotFoundError` before the first deployment."""
    from serving import deploy

    def find() -> Path:
        current = deploy.current(home)
        if current is None:
            raise NotFoundError(f"Nothing is deployed in {home}.", "Train and deploy a model first: goodsight run")
        return (deploy.store(home) / current.archive / "index").resolve()

    return find
