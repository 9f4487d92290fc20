"""Thumbnails of the products of an index: one Arrow file in its folder, whose bytes are read where they lie.

An image is a WebP of at most 256 pixels a side; a product without a picture has no row. The file is mapped, not read: a page of
twenty products touches twenty images, of however many.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from goodsight.digests import key64
from goodsight.errors import InputError, IntegrityError

if TYPE_CHECKING:
    from catalogue.snapshot import Snapshot

THUMBNAILS = "thumbnails.arrow"
SIDE = 256  # pixels, of the longer one
QUALITY = 80  # of WebP, 0 to 100
ROWS = 256  # a batch of the file
SCHEMA = pa.schema([("key", pa.uint64()), ("id", pa.string()), ("image", pa.large_binary())])  # key: the hash of the id
Images = Iterable[tuple[str, bytes | None]]  # product id and its picture


def thumbnail(image: bytes) -> bytes:
    """A picture as WebP, its longer side at most `SIDE`, never enlarged. Raises `InputError` for what is no whole picture."""
    from PIL import Image

    from catalogue.media import decode_image

    small = decode_image(image)
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=QUALITY, method=4)
    return out.getvalue()


def write_thumbnails(images: Images, folder: Path, kept: Iterable[tuple[str, bytes]] = ()) -> None:
    """Writes the file of `images`, a batch in memory at a time, after thumbnails that were `kept`; what is no picture is left out."""
    with pa.OSFile(str(folder / THUMBNAILS), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        fresh = ((id, small) for id, image in images if image and (small := _or_none(image)))
        made = ((key64(id), id, small) for id, small in chain(kept, fresh))
        while batch := list(islice(made, ROWS)):
            writer.write_batch(pa.record_batch([list(column) for column in zip(*batch, strict=True)], schema=SCHEMA))


def _or_none(image: bytes) -> bytes | None:
    try:
        return thumbnail(image)
    except InputError:
        return None


def first_images(snapshot: Snapshot, ids: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """The first picture of each of `ids`, in their order, read from the snapshot as it goes; rows that follow one another are
    read together.
    """
    row_of = {id: row for row, id in enumerate(snapshot.products(["id"])["id"].to_pylist())}
    for start in range(0, len(ids), ROWS):
        part = ids[start : start + ROWS]
        rows = sorted({row_of[id] for id in part if id in row_of})
        images = {row["id"]: row["images"] for row in snapshot.take("products", rows, ["id", "images"])}
        yield from ((id, found[0] if (found := images.get(id)) else None) for id in part)


def kept_thumbnails(folder: Path, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The thumbnails in an index folder of those of `ids` that have one there."""
    found = Thumbnails(folder)
    yield from ((id, image) for id in ids if (image := found.of(id)))


class Thumbnails:
    """The thumbnails in an index folder, mapped."""

    def __init__(self, folder: Path) -> None:
        """Raises `InputError` when the index has none, `IntegrityError` when the file cannot be read."""
        path = folder / THUMBNAILS
        if not path.is_file():
            raise InputError(f"The index {folder} has no thumbnails.", "Make it again with this release: goodsight run")
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise IntegrityError(f"{path} cannot be read: {error}", "Make the index again.") from error
        keys = self._table["key"].to_numpy()
        self._order = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, id: str) -> bytes | None:
        """The WebP of a product; None where there is none."""
        at = int(np.searchsorted(self._keys, np.uint64(key64(id))))
        while at < len(self._keys) and self._keys[at] == key64(id):
            row = int(self._order[at])
            if self._table["id"][row].as_py() == id:
                return self._table["image"][row].as_buffer().to_pybytes()
            at += 1
        return None
