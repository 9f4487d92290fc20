"""What the caches of a snapshot share: of tokens (`models.features.FeatureCache`), of pixels (`models.pixels.PixelCache`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from catalogue.media import decode_audio
from goodsight.digests import code_files, sha256_file, sha256_json
from goodsight.files import write_bytes
from goodsight.progress import track
from models.dataset import Frames, Pictures, Texts
from models.preprocess import Preprocess
from models.scenes import PictureCache


class Cache(PictureCache, Protocol):
    """Media and words of a snapshot as a model reads them, kept shard by shard; parts of shards are put in order of rows."""

    preprocess: Preprocess
    modalities: tuple[str, ...]

    def videos(self, content: str, videos: Iterator[bytes], count: int, /) -> Any:
        """The part of one shard: `count` videos, kept under the digest `content`."""

    def films(self, parts: Sequence[Any], place: Tensor, /) -> Frames | Pictures:
        """Videos by rows: `place` `(N,)` counts through the parts one after the other, -1 for a row without one."""

    def sounds(self, content: str, sounds: Iterator[bytes], count: int, /) -> Tensor:
        """The part of one shard (`sound_tokens`)."""

    def texts(self, kind: str, texts: Sequence[str], /) -> Texts:
        """Word pieces of `texts`, padded to the longest of them."""

    def tables(self, kind: str, tables: Sequence[dict[str, Any]], /) -> Texts:
        """The same for property-value tables."""


def kept_at(folder: Path, kind: str, key: str, content: str, form: str) -> Path:
    """The file of what was made of `content` in the way that `key` names."""
    return folder / f"{kind}-{sha256_json([key, kind, content])}.{form}"


def sound_tokens(folder: Path, preprocess: Preprocess, content: str, sounds: Iterator[bytes], count: int) -> Tensor:
    """`(count, N, M)` float16, kept in `folder`: log-mel tokens, NaN after the end of a sound."""
    spec = preprocess.specs.audio
    path = kept_at(folder, "sounds", preprocess.digest, f"{content} {count}", "safetensors")
    if not path.is_file():
        tokens = torch.full((count, spec.tokens, spec.mels), torch.nan).half()
        for place, data in enumerate(track(sounds, "audio features", "sounds", total=count)):
            found = preprocess.sound(*decode_audio(data))
            tokens[place, : len(found)] = found.half()
        write_bytes(path, save({"tokens": tokens}))
    return load_file(path)["tokens"]


def decoder_digest() -> str:
    """Of the code that chooses and decodes the frames of videos: frames chosen in another way are other features."""
    return sha256_json({module: sha256_file(path) for module, path in code_files("catalogue.media").items()})
