"""The one definition of how pixels and words become tensors, shared by training, evaluation and serving.

Its digest travels in the bundle; a server whose definition differs refuses the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

from goodsight.digests import sha256_bytes, sha256_json
from goodsight.files import read_json, write_bytes, write_json
from models.config import ModelConfig

CODE_VERSION = 1  # raise when the code below changes what a tensor holds


@dataclass(frozen=True)
class ImageSpec:
    """Resize to a square (bicubic, no crop: catalogue photos are framed), scale to [0, 1], normalise per channel."""

    size: int
    mean: tuple[float, float, float] = (0.498, 0.498, 0.498)
    std: tuple[float, float, float] = (0.502, 0.502, 0.502)


@dataclass(frozen=True)
class TextSpec:
    """Word pieces, cut to `length` tokens with the special ones."""

    length: int
    description_characters: int = 400


class Preprocess:
    """Images and texts in, named tensors with presence masks out."""

    def __init__(self, image: ImageSpec, text: TextSpec, tokenizer: Tokenizer) -> None:
        self.image, self.text = image, text
        self.tokenizer = tokenizer
        self.tokenizer.enable_truncation(text.length)
        self.tokenizer.no_padding()
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self.mask_id = vocabulary["[MASK]"]
        self.special_ids = tuple(vocabulary[name] for name in ("[PAD]", "[CLS]", "[SEP]", "[UNK]"))

    @property
    def definition(self) -> dict[str, Any]:
        return {
            "code_version": CODE_VERSION,
            "image": asdict(self.image),
            "text": asdict(self.text),
            "tokenizer": sha256_bytes(self.tokenizer.to_str().encode()),
        }

    @property
    def digest(self) -> str:
        return sha256_json(self.definition)

    def save(self, folder: Path) -> None:
        write_json(folder / "preprocess.json", {**self.definition, "digest": self.digest})
        write_bytes(folder / "tokenizer.json", self.tokenizer.to_str().encode())

    @staticmethod
    def load(folder: Path) -> Preprocess:
        """Reads `preprocess.json` and `tokenizer.json`; the bundle compares the digest."""
        spec = read_json(folder / "preprocess.json")
        image = ImageSpec(spec["image"]["size"], tuple(spec["image"]["mean"]), tuple(spec["image"]["std"]))
        return Preprocess(image, TextSpec(**spec["text"]), Tokenizer.from_file(str(folder / "tokenizer.json")))

    def product_text(self, title: str, description: str) -> str:
        """What a product page says: title and description (papers.md 1.1); attributes are the table modality's."""
        parts = (title.strip(), description.strip()[: self.text.description_characters])
        return ". ".join(part for part in parts if part)

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """`(3, H, W)` float32 of an RGB image."""
        square = image.resize((self.image.size, self.image.size), Image.Resampling.BICUBIC)
        colours = torch.from_numpy(np.array(square, dtype=np.float32)) / 255.0
        normal = (colours - torch.tensor(self.image.mean)) / torch.tensor(self.image.std)
        return normal.permute(2, 0, 1).contiguous()

    def tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Word piece ids `(B, T)` and their mask `(B, T)`, T the longest of the batch; an empty text has an empty mask."""
        encodings = self.tokenizer.encode_batch(list(texts))
        rows = [encoding.ids if text.strip() else [] for encoding, text in zip(encodings, texts, strict=True)]
        longest = max((len(row) for row in rows), default=0) or 1
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[index, : len(row)] = True
        return ids, mask

    def batch(self, images: Sequence[Image.Image | None], texts: Sequence[str | None]) -> dict[str, torch.Tensor]:
        """Named tensors of B products or queries: image `(B, V=1, 3, H, W)`, image_mask `(B, V)`, text_ids and text_mask `(B, T)`."""
        blank = torch.zeros(3, self.image.size, self.image.size)
        pixels = [blank if image is None else self.pixels(image) for image in images]
        ids, mask = self.tokens([text or "" for text in texts])
        present = torch.tensor([[image is not None] for image in images])
        return {"image": torch.stack(pixels)[:, None], "image_mask": present, "text_ids": ids, "text_mask": mask}


def preprocess_for(config: ModelConfig, tokenizer: Tokenizer) -> Preprocess:
    """The preprocessing of a model of these shapes."""
    return Preprocess(ImageSpec(config.image_size), TextSpec(config.text_length), tokenizer)
