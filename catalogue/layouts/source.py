"""What an importer needs of a catalogue, wherever it comes from."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catalogue.layouts.tables import Table
from catalogue.records import Read, shown
from goodsight.errors import InputError
from goodsight.settings import settings


@dataclass(frozen=True)
class Source:
    """Tables of records with our field names, products before the queries that name them, and a reader of their media."""

    tables: list[Table]
    read: Read
    categories: list[str] | None = None  # those allowed; None: any


def media_reader(folder: Path) -> Read:
    """A function that gives the media file at a path relative to `folder`, and nothing outside it; bytes stand for themselves.

    Up to GOODSIGHT_MAX_MEDIA_BYTES each.
    """
    root = folder.resolve()
    limit = settings().max_media_bytes

    def read(given: str | bytes) -> bytes:
        data = given if isinstance(given, bytes) else _file(root, given, limit)
        if len(data) > limit:
            raise InputError(f"the file {shown(given)} is larger than {limit:,} bytes (GOODSIGHT_MAX_MEDIA_BYTES)")
        return data

    return read


def _file(root: Path, name: str, limit: int) -> bytes:
    """The first `limit` + 1 bytes of a file inside `root`."""
    relative = PurePosixPath(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"{shown(name)} is no path inside the catalogue folder")
    try:
        path = (root / relative).resolve()
        if not path.is_relative_to(root):
            raise InputError(f"{shown(name)} is a link that leads out of the catalogue folder")
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{shown(name)} is no file")
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError as error:
        raise InputError(f"the file {shown(name)} is missing") from error
    except OSError as error:
        raise InputError(f"the file {shown(name)} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, ValueError) as error:  # a link to itself, a name that no file can have
        raise InputError(f"{shown(name)} leads to no file") from error
