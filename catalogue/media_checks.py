"""Facts about the media of products and queries: whether they decode, and what their pictures look like.

Media are decoded here, once each, from a stream of batches, on all threads. Rows without media cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from catalogue.media import decode_audio, decode_image, video_frames
from catalogue.snapshot import Snapshot
from goodsight.digests import sha256_bytes
from goodsight.errors import InputError
from goodsight.progress import track
from goodsight.settings import settings


@dataclass(frozen=True)
class Picture:
    """What validation remembers of a main image: sha256, shorter side in pixels, standard deviation of its brightness (0 to 255)
    and a difference hash of 256 bits (neighbours of a 17 x 16 thumbnail compared), near for images that look alike.
    """

    digest: str
    side: int
    contrast: float
    look: bytes


@dataclass(frozen=True)
class Media:
    """Facts of one row; an error is None when all is well."""

    images: int = 0
    picture: Picture | None = None
    image_error: str | None = None
    has_video: bool = False
    video_error: str | None = None
    has_audio: bool = False
    audio_error: str | None = None


FLAT_STEP = 2.0  # of brightness, 0 to 255: less between two cells of the thumbnail is no difference (white backgrounds are not quite white)


Seen = dict[int, Media]  # row -> facts of its media, of the rows that have any


def media_of(snapshot: Snapshot, table: str, columns: Sequence[str]) -> Seen:
    """The facts of the media in these columns of a table."""
    total = snapshot.manifest["counts"][table]
    with ThreadPoolExecutor(settings().threads) as pool:
        rows = _numbered(snapshot.batches(table, columns), pool)
        return dict(track(rows, f"check {table}", table, total=total, place=itemgetter(0)))


def _numbered(batches: Iterator[pa.RecordBatch], pool: Executor) -> Iterator[tuple[int, Media]]:
    start = 0
    for batch in batches:
        for place, facts in media_facts(batch, pool):
            yield start + place, facts
        start += len(batch)


def media_facts(batch: pa.RecordBatch, pool: Executor) -> Iterator[tuple[int, Media]]:
    """The rows with media of a batch with some of the columns images, image, video, audio: (place in the batch, facts)."""
    rows = _with_media(batch)
    return zip(rows, pool.map(_facts, _bytes_of(batch, rows)), strict=True)


def _with_media(batch: pa.RecordBatch) -> list[int]:
    found = np.zeros(batch.num_rows, dtype=bool)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        found |= np.asarray(pc.fill_null(pc.greater(pc.list_value_length(column), 0), False) if name == "images" else column.is_valid())
    rows: list[int] = np.flatnonzero(found).tolist()
    return rows


def _bytes_of(batch: pa.RecordBatch, rows: list[int]) -> Iterator[dict[str, Any]]:
    """The media of one row at a time, so that one row's bytes are copied at once."""
    for row in rows:
        yield {name: batch.column(name)[row].as_py() for name in batch.schema.names}


def _facts(media: dict[str, Any]) -> Media:
    images = media.get("images") or [image for image in [media.get("image")] if image is not None]
    picture, image_error = _images(images)
    video, audio = media.get("video"), media.get("audio")
    return Media(
        len(images), picture, image_error, video is not None, _fault(video_frames, video), audio is not None, _fault(decode_audio, audio)
    )


def _images(images: list[bytes]) -> tuple[Picture | None, str | None]:
    """The main image if it decodes, and why the images do not."""
    picture, faults = None, []
    for number, data in enumerate(images, 1):
        try:
            image = decode_image(data)
        except InputError as error:
            faults.append(error.message if len(images) < 2 else f"image {number} of {len(images)}: {error.message}")
            continue
        if number == 1:
            picture = seen(data, image)
    return picture, join(faults)


def seen(data: bytes, image: Image.Image) -> Picture:
    """Facts of a decoded image."""
    small = np.asarray(image.convert("L").resize((68, 64), Image.Resampling.BOX), dtype=np.float32)
    cells = small.reshape(16, 4, 17, 4).mean(axis=(1, 3))
    bits = np.packbits(cells[:, 1:] > cells[:, :-1] + FLAT_STEP)
    return Picture(sha256_bytes(data), min(image.size), float(small.std()), bits.tobytes())


def _fault(decode: Callable[[bytes], Any], data: bytes | None) -> str | None:
    """Why `data` cannot be decoded, or None."""
    if data is None:
        return None
    try:
        decode(data)
    except InputError as error:
        return error.message
    return None


def join(reasons: Iterable[str | None]) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None
