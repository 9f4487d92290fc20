"""Pixels of a snapshot for towers that learn: every image decoded and resized once, then read from disk by row.

One file of uint8 pixels a shard (`models.dataset.picture_records`, a plain .npy), its name a digest of the shard and of how an
image is resized, for videos also of the code that chooses and decodes their frames. Files are memory-mapped: what is not asked for
is not in memory, and the processes of a machine share its pages. A quarter of the bytes of normalised pixels; `Architecture.encode`
normalises on the model's device. Texts, tables and sounds need no file of pixels: they are word pieces and log-mel tokens.
Legend: F frames, H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from catalogue.media import video_frames
from goodsight.digests import sha256_json
from goodsight.files import exclusive, whole_file
from goodsight.progress import track
from models.architectures.base import Architecture
from models.caches import Cache, decoder_digest, kept_at, sound_tokens
from models.dataset import Pictures, Texts, picture_records
from models.features import FeatureCache
from models.preprocess import Preprocess


class PixelCache:
    """Resized pictures on disk, under `folder`, as the preprocessing of a model wants them; the counterpart of `FeatureCache`."""

    def __init__(self, folder: Path, model: Architecture, preprocess: Preprocess) -> None:
        self.folder, self.preprocess = folder, preprocess
        self.modalities, self.image_grid = model.config.modalities, model.config.image_grid
        self.image_key = preprocess.square_digest
        self.video_key = sha256_json([self.image_key, decoder_digest()])
        side = preprocess.image.size
        self.one, self.several = picture_records(1, side), picture_records(preprocess.specs.video.frames, side)

    def images(self, kind: str, content: str, images: Iterator[Image.Image], count: int) -> np.ndarray:
        """`(count,)` records of `images`, from the cache when the content digest is known; views hold frames of videos."""
        path = kept_at(self.folder, kind, self.video_key if kind == "views" else self.image_key, f"{content} {count}", "npy")
        rows = (self.preprocess.square(image)[None] for image in track(images, "pixels", "images", total=count))
        return self._kept(path, self.one, rows, count)

    def videos(self, content: str, videos: Iterator[bytes], count: int) -> np.ndarray:
        """`(count,)` records of the frames of videos."""
        key = sha256_json([self.video_key, self.preprocess.specs.video.frames])
        path = kept_at(self.folder, "videos", key, f"{content} {count}", "npy")
        rows = (self.preprocess.stills(video_frames(data)) for data in track(videos, "pixels of videos", "videos", total=count))
        return self._kept(path, self.several, rows, count)

    def pictures(self, parts: Sequence[np.ndarray], place: Tensor) -> Pictures:
        """Images by rows: `place` `(N,)` counts through the parts one after the other, -1 for a row without an image."""
        return Pictures(self.one, parts, place)

    def films(self, parts: Sequence[np.ndarray], place: Tensor) -> Pictures:
        """The same for videos."""
        return Pictures(self.several, parts, place)

    def texts(self, kind: str, texts: Sequence[str]) -> Texts:
        """Ids and mask of `texts`, padded to the longest of them."""
        return Texts(*self.preprocess.tokens(texts))

    def tables(self, kind: str, tables: Sequence[dict[str, Any]]) -> Texts:
        """The same for property-value tables."""
        ids, mask, parts = self.preprocess.tables(tables)
        return Texts(ids, mask, parts=parts)

    def sounds(self, content: str, sounds: Iterator[bytes], count: int) -> Tensor:
        """Log-mel tokens, which no tower reads."""
        return sound_tokens(self.folder, self.preprocess, content, sounds, count)

    def _kept(self, path: Path, records: np.dtype, rows: Iterable[Tensor], count: int) -> np.ndarray:
        """The file's records; made now when it is not there or not whole, by one process while others wait for it."""
        with exclusive(self.folder / "pixels.lock", "Decoding of pictures", seconds=math.inf):
            found = _mapped(path, records, count)
            if found is None:
                with whole_file(path) as aside:
                    _write(aside, records, rows, count)
                found = _mapped(path, records, count)
        assert found is not None
        return found


def _mapped(path: Path, records: np.dtype, count: int) -> np.ndarray | None:
    """The records in the file, memory-mapped; None when it is missing, torn, or holds something else."""
    try:
        found = np.lib.format.open_memmap(path, mode="c")  # nothing written here comes to the file
    except (OSError, ValueError):
        return None
    return found if (found.dtype, found.shape) == (records, (count,)) else None


def _write(path: Path, records: np.dtype, rows: Iterable[Tensor], count: int) -> None:
    """Row by row, so that memory holds one of them."""
    made = np.lib.format.open_memmap(path, mode="w+", dtype=records, shape=(count,))
    for place, frames in enumerate(rows):
        made["pixels"][place, : len(frames)] = frames.numpy()
        made["there"][place, : len(frames)] = True
    made.flush()


def cache_for(folder: Path, model: Architecture, preprocess: Preprocess) -> Cache:
    """Where pretraining of `model` gets its images from: pixels when its towers learn too, else what they made of them, once."""
    return PixelCache(folder, model, preprocess) if model.config.trained_towers else FeatureCache(folder, model, preprocess)
