"""The one definition of how pixels, words, tables, videos and sounds become tensors, shared by training, evaluation and serving.

Its digest travels in the bundle; a server whose definition differs refuses the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

from goodsight.digests import sha256_bytes, sha256_json
from goodsight.errors import InputError
from goodsight.files import read_json, write_bytes, write_json
from models.config import ModelConfig

CODE_VERSION = 2  # raise when the code below changes what a tensor holds
Sound = tuple[np.ndarray, int]  # samples (n,) in [-1, 1] and their rate in Hz


@dataclass(frozen=True)
class ImageSpec:
    """Resize to a square (bicubic, no crop: catalogue photos are framed), scale to [0, 1], normalise per channel."""

    size: int
    mean: tuple[float, float, float] = (0.498, 0.498, 0.498)
    std: tuple[float, float, float] = (0.502, 0.502, 0.502)

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 `(..., 3, H, W)` -> float32, on the device where they are."""
        mean, std = (torch.tensor(values).to(pixels.device)[:, None, None] for values in (self.mean, self.std))
        return (pixels.float() / 255.0 - mean) / std


@dataclass(frozen=True)
class TextSpec:
    """Word pieces, cut to `length` tokens with the special ones."""

    length: int
    description_characters: int = 400


@dataclass(frozen=True)
class TableSpec:
    """Word pieces of the properties and their values one after the other, a value cut to `value` of them, all to `length`."""

    length: int
    value: int = 12


@dataclass(frozen=True)
class VideoSpec:
    """Frames, evenly spread."""

    frames: int


@dataclass(frozen=True)
class AudioSpec:
    """Log-mel frames, z-scored each, their means over equal times as tokens: time-major (papers.md 3.2)."""

    tokens: int
    mels: int
    seconds: float = 4.0
    rate: int = 16_000  # Hz
    window: int = 1_024  # samples
    hop: int = 256  # samples

    @property
    def frames(self) -> int:
        """Frames a token."""
        return -(-int(self.seconds * self.rate) // (self.hop * self.tokens))


@dataclass(frozen=True)
class Specs:
    image: ImageSpec
    text: TextSpec
    table: TableSpec
    video: VideoSpec
    audio: AudioSpec


class Preprocess:
    """Media and words in, named tensors with presence masks out."""

    def __init__(self, specs: Specs, tokenizer: Tokenizer) -> None:
        self.specs = specs
        self.image, self.text = specs.image, specs.text
        self.tokenizer = tokenizer
        self.tokenizer.enable_truncation(specs.text.length)
        self.tokenizer.no_padding()
        self.mask_id = self._piece("[MASK]", "<mask>")
        self.cls_id, self.sep_id = self._piece("[CLS]", "<s>"), self._piece("[SEP]", "</s>")
        self.special_ids = (self._piece("[PAD]", "<pad>"), self.cls_id, self.sep_id, self._piece("[UNK]", "<unk>"))

    def _piece(self, *names: str) -> int:
        found = [number for name in names if (number := self.tokenizer.token_to_id(name)) is not None]
        if not found:
            raise InputError(f"The tokenizer has no piece {' or '.join(names)}.", "Use the tokenizer of a BERT or an XLM-R.")
        return found[0]

    @property
    def definition(self) -> dict[str, Any]:
        return {
            "code_version": CODE_VERSION,
            **asdict(self.specs),
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
        words = TextSpec(**spec["text"]), TableSpec(**spec["table"])
        specs = Specs(image, *words, VideoSpec(**spec["video"]), AudioSpec(**spec["audio"]))
        return Preprocess(specs, Tokenizer.from_file(str(folder / "tokenizer.json")))

    def product_text(self, title: str, description: str) -> str:
        """What a product page says: title and description (papers.md 1.1); attributes are the table modality's."""
        parts = (title.strip(), description.strip()[: self.text.description_characters])
        return ". ".join(part for part in parts if part)

    @property
    def square_digest(self) -> str:
        """Of the part of the definition that `square` depends on."""
        return sha256_json([CODE_VERSION, self.image.size])

    def square(self, image: Image.Image) -> torch.Tensor:
        """`(3, H, W)` uint8 of an RGB image, resized."""
        resized = image.resize((self.image.size, self.image.size), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """`(3, H, W)` float32 of an RGB image."""
        return self.image.normalised(self.square(image))

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

    def tables(self, tables: Sequence[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Property-value tables -> ids, mask and parts `(B, P)`; parts is 2 n + 1 in property n, 2 n + 2 in its value, else 0."""
        rows = [self._table(table) for table in tables]
        longest = max((len(ids) for ids, _ in rows), default=0) or 1
        ids, parts = torch.zeros(2, len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, (pieces, numbers) in enumerate(rows):
            ids[place, : len(pieces)], parts[place, : len(pieces)] = torch.tensor(pieces), torch.tensor(numbers)
            mask[place, : len(pieces)] = True
        return ids, mask, parts

    def _table(self, table: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        texts = [text for name, value in table.items() if value not in (None, "", []) for text in (_spoken(name), _spoken(value))]
        if not texts:
            return [], []
        pieces, numbers = [self.cls_id], [0]
        for number, encoding in enumerate(self.tokenizer.encode_batch(texts, add_special_tokens=False), start=1):
            found = encoding.ids[: self.specs.table.value]
            pieces, numbers = pieces + found, numbers + [number] * len(found)
        last = self.specs.table.length - 1
        return pieces[:last] + [self.sep_id], numbers[:last] + [0]

    def stills(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """`(F, 3, H, W)` uint8: as many of a video's pictures as the definition asks for, evenly spread; fewer when it has fewer."""
        count = min(len(pictures), self.specs.video.frames)
        return torch.stack([self.square(pictures[place * len(pictures) // count]) for place in range(count)])

    def frames(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """`(F, 3, H, W)` float32 of the same."""
        return self.image.normalised(self.stills(pictures))

    def sound(self, samples: np.ndarray, rate: int) -> torch.Tensor:
        """`(N, M)` log-mel tokens of samples `(n,)` in [-1, 1] at `rate` Hz."""
        from scipy.signal import resample_poly
        from transformers.audio_utils import spectrogram, window_function

        spec = self.specs.audio
        waveform = resample_poly(samples, spec.rate, rate) if rate != spec.rate else samples
        waveform = waveform[: int(spec.seconds * spec.rate)].astype(np.float64)
        waveform = np.pad(waveform, (0, max(0, spec.window - len(waveform))))
        window = window_function(spec.window, "hann")
        mels = spectrogram(
            waveform, window, spec.window, spec.hop, power=2.0, center=True, mel_filters=_mel_filters(spec), log_mel="log10"
        ).T
        normal = (mels - mels.mean(axis=1, keepdims=True)) / (mels.std(axis=1, keepdims=True) + 1e-6)
        parts = [normal[start : start + spec.frames].mean(axis=0) for start in range(0, len(normal), spec.frames)]
        return torch.tensor(np.array(parts[: spec.tokens]), dtype=torch.float32)

    def batch(
        self,
        images: Sequence[Image.Image | None],
        texts: Sequence[str | None],
        tables: Sequence[Mapping[str, Any] | None] = (),
        videos: Sequence[Sequence[Image.Image] | None] = (),
        sounds: Sequence[Sound | None] = (),
    ) -> dict[str, torch.Tensor]:
        """Named tensors of B products or queries: image `(B, V=1, 3, H, W)`, image_mask `(B, V)`, text_ids and text_mask `(B, T)`.

        Where a row has them also table_ids, table_parts, table_mask `(B, P)`, video `(B, F, 3, H, W)`, video_mask `(B, F)`,
        audio_tokens `(B, N, M)` and audio_mask `(B, N)`; a modality that no row has is not in the batch.
        """
        blank = torch.zeros(3, self.image.size, self.image.size)
        pixels = [blank if image is None else self.pixels(image) for image in images]
        ids, mask = self.tokens([text or "" for text in texts])
        present = torch.tensor([[image is not None] for image in images])
        found = {"image": torch.stack(pixels)[:, None], "image_mask": present, "text_ids": ids, "text_mask": mask}
        if any(tables):
            found["table_ids"], found["table_mask"], found["table_parts"] = self.tables([table or {} for table in tables])
        if any(videos):
            frames = [self.frames(video) if video else blank[None][:0] for video in videos]
            found["video"], found["video_mask"] = _rows(frames, self.specs.video.frames, blank)
        if any(sound is not None for sound in sounds):
            spec = self.specs.audio
            silent = torch.zeros(0, spec.mels)
            tokens = [silent if sound is None else self.sound(*sound) for sound in sounds]
            found["audio_tokens"], found["audio_mask"] = _rows(tokens, spec.tokens, torch.zeros(spec.mels))
        return found


def _rows(parts: Sequence[torch.Tensor], length: int, blank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of at most `length` items as one tensor, filled up with `blank`, and the mask `(B, length)` of what is there."""
    padded = [torch.stack([*part, *[blank] * (length - len(part))]) for part in parts]
    return torch.stack(padded), torch.tensor([[place < len(part) for place in range(length)] for part in parts])


def _spoken(value: Any) -> str:
    """A property's name or value in words."""
    if isinstance(value, list):
        return ", ".join(_spoken(one) for one in value)
    return str(value).replace("_", " ").strip()


@lru_cache(maxsize=4)
def _mel_filters(spec: AudioSpec) -> np.ndarray:
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(spec.window // 2 + 1, spec.mels, 0.0, spec.rate / 2, spec.rate, norm="slaney", mel_scale="slaney")


def image_spec(config: ModelConfig) -> ImageSpec:
    """What a model of these shapes does with an image."""
    return ImageSpec(config.image_size)


def preprocess_for(config: ModelConfig, tokenizer: Tokenizer) -> Preprocess:
    """The preprocessing of a model of these shapes."""
    words = TextSpec(config.text_length), TableSpec(config.table_length)
    frames = VideoSpec(config.frames), AudioSpec(config.audio_tokens, config.mels)
    return Preprocess(Specs(image_spec(config), *words, *frames), tokenizer)
