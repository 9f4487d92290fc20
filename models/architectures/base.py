"""What the four architectures share: towers, three embeddings of a row, and the faces that serving sees.

A product page or a query has up to three embeddings: i (image), t (text) and m (all its modalities fused).
Legend: B batch, V views, G image tokens a view, T text tokens, P table tokens, F frames, N audio tokens, D width, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.class_words import ClassWords
from models.config import Effort, ModelConfig
from models.dataset import MASKS, Batch
from models.preprocess import image_spec
from models.towers import Towers


@dataclass
class Embeddings:
    """i, t, m `(B, D)`, L2-normalised, with presence masks `(B,)`."""

    image: Tensor
    text: Tensor
    multimodal: Tensor
    has_image: Tensor
    has_text: Tensor
    has_multimodal: Tensor

    def split(self, size: int) -> tuple[Embeddings, Embeddings]:
        """The first `size` rows, and the others."""
        parts = [(value[:size], value[size:]) for value in vars(self).values()]
        return Embeddings(*(part[0] for part in parts)), Embeddings(*(part[1] for part in parts))


def presence(batch: Batch, modality: str) -> Tensor:
    """`(B,)` bool: the row has the modality. A batch without the modality's tensors has it nowhere."""
    if MASKS[modality] in batch:
        return batch[MASKS[modality]].any(dim=1)
    like = next(batch[name] for name in MASKS.values() if name in batch)
    return torch.zeros(len(like), dtype=torch.bool, device=like.device)


def _one_of_scalar(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Bundles of earlier releases have the temperature as a scalar."""
    name = f"{prefix}log_scale"
    if name in state:
        state[name] = state[name].reshape(1)


class Architecture(nn.Module, ABC):
    """Base of the four. A subclass gives `unimodal`, `embeddings` and `class_features`, all of token batches (`encode`)."""

    reads_text_tokens = True  # of the text tower; else word pieces alone
    learns_from_scenes = False  # `models.scenes`, in pretraining
    term_weights: Tensor  # (2, 3) of i, t and m: for images, for texts

    def __init__(self, config: ModelConfig, classes: int = 0, class_width: int = 0) -> None:
        super().__init__()
        self.config = config
        self.towers = Towers(config)
        self.class_head = nn.Linear(class_width, classes) if classes else None
        self.class_words = ClassWords(classes) if classes else None
        self.log_scale = nn.Parameter(torch.tensor([1 / 0.07]).log())  # (1,): FSDP2 shards no scalar
        self.register_load_state_dict_pre_hook(_one_of_scalar)
        self.register_buffer("term_weights", torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))

    @property
    def scale(self) -> Tensor:
        """1 / temperature, temperature kept within [0.01, 0.5]."""
        return self.log_scale[0].exp().clamp(2.0, 100.0)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.log_scale.device

    def load_pretrained(self) -> Architecture:
        """Loads the towers' published weights."""
        self.towers.load_pretrained()
        return self

    def freeze_towers(self) -> None:
        """From now on the towers learn no more, whatever they did: what they make of a picture or a text can be kept."""
        self.towers.freeze()

    # What a subclass gives

    @abstractmethod
    def unimodal(self, tokens: Batch) -> Embeddings:
        """i and t of every row; m is zero and absent: for rows that need no fusion."""

    @abstractmethod
    def embeddings(self, tokens: Batch) -> Embeddings:
        """i, t and m of every row."""

    @abstractmethod
    def class_features(self, tokens: Batch) -> Tensor:
        """`(B, class width)`: what the class head reads; a missing modality contributes zeros."""

    # Towers

    def encode(self, batch: Batch) -> Batch:
        """Raw tensors (`Preprocess.batch`) -> tower tokens, by `models.dataset.MASKS`, on the model's device; cached tokens stay.

        image `(B, V, 3, H, W)` -> image_tokens `(B, V * G, C)`, video `(B, F, 3, H, W)` -> video_tokens `(B, F, C)`, where uint8
        pixels are normalised first; text_ids and table_ids -> text_tokens `(B, T, W)` and table_tokens `(B, P, W)`.
        """
        found = {name: self._here(value) for name, value in batch.items()}
        if "image" in found:
            G = self.config.image_grid**2
            tokens, mask = self._pictures(found.pop("image"), found.pop("image_mask"))
            found["image_tokens"], found["image_tokens_mask"] = tokens.flatten(1, 2), mask.repeat_interleave(G, dim=1)
        if "video" in found:
            tokens, found["video_mask"] = self._pictures(found.pop("video"), found["video_mask"])
            found["video_tokens"] = tokens.mean(dim=2)
        for name in ("text", "table"):
            if self.reads_text_tokens and f"{name}_ids" in found and f"{name}_tokens" not in found:
                found[f"{name}_tokens"] = self._words(found[f"{name}_ids"], found[f"{name}_mask"])
        return found

    def _here(self, value: Tensor) -> Tensor:
        here = value.to(self.device, non_blocking=True)
        return here.float() if here.dtype == torch.float16 else here

    def _pictures(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, V, 3, H, W)` and mask `(B, V)` -> tokens `(B, V, G, C)`, zeros where there is no picture, and the mask."""
        tokens = torch.zeros(*mask.shape, self.config.image_grid**2, self.towers.image_channels, device=mask.device)
        if bool(mask.any()):
            there = pixels[mask]
            normal = image_spec(self.config).normalised(there) if there.dtype == torch.uint8 else there
            tokens[mask] = self.towers.image_tokens(normal).to(tokens.dtype)
        return tokens, mask

    def _words(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens = torch.zeros(*ids.shape, self.towers.text.width, device=ids.device)
        present = mask.any(dim=1)
        if bool(present.any()):
            tokens[present] = self.towers.text_tokens(ids[present], mask[present]).to(tokens.dtype)
        return tokens

    # The faces that serving sees

    efforts: tuple[Effort, ...] = ("high",)  # the levels that its weights tell apart, see `at_effort`

    @contextmanager
    def at_effort(self, effort: Effort) -> Iterator[Effort]:
        """Within the block answers cost as much as `effort` says, "high" being what the model is judged at.

        Yields the level that is in force: "high" always, for an architecture whose weights serve one depth alone.
        """
        yield "high"

    def embed(self, batch: Batch) -> Tensor:
        """`(B, 3 * D)`, L2-normalised, from whichever modalities a row has.

        A row with several modalities is [i, t, m] side by side, zeros for an image or text that it lacks. A row that is an
        image or a text alone repeats it three times, each times its term's weight: so the inner product with a page is the
        weighted sum of the terms, say T->I, T->T and T->M (papers.md 1.4).
        """
        tokens = self.encode(batch)
        there = torch.stack([presence(tokens, name) for name in MASKS])
        alone = (there.sum(dim=0) == 1) & (presence(tokens, "image") | presence(tokens, "text"))
        return self.joined(self.unimodal(tokens) if bool(alone.all()) else self.embeddings(tokens))

    def joined(self, found: Embeddings) -> Tensor:
        """`(B, 3 * D)`: what `embed` makes of i, t and m by the present weights of the terms."""
        image, text = found.image * found.has_image[:, None], found.text * found.has_text[:, None]
        as_image, as_text = (
            (part[:, None] * weights[:, None]).flatten(1) for part, weights in zip((image, text), self.term_weights, strict=True)
        )
        alone = found.has_image | found.has_text
        one = torch.where(alone[:, None], as_image + as_text, found.multimodal.repeat(1, 3))
        page = torch.cat([image, text, found.multimodal], dim=1)
        return F.normalize(torch.where((found.has_multimodal & alone)[:, None], page, one), dim=1)

    def classify(self, batch: Batch) -> Tensor:
        """Logits `(B, K)`: of the class head, and what the words alone add."""
        if self.class_head is None or self.class_words is None:
            raise ValueError("this model has no class head: fine-tune it for the task 'categorize'")
        tokens = self.encode(batch)
        return self.class_head(self.class_features(tokens)) + self.class_words(tokens["text_ids"], tokens["text_mask"])


class DualEncoder(Architecture):
    """An architecture whose i and t are projections of one tower each, before anything is fused."""

    @abstractmethod
    def image_embedding(self, tokens: Batch) -> Tensor:
        """i: `(B, D)`."""

    @abstractmethod
    def text_embedding(self, tokens: Batch) -> Tensor:
        """t: `(B, D)`."""

    def unimodal(self, tokens: Batch) -> Embeddings:
        has_image, has_text = presence(tokens, "image"), presence(tokens, "text")
        nothing = torch.zeros(len(has_text), self.config.width, device=has_text.device)
        image = self.image_embedding(tokens) if bool(has_image.any()) else nothing
        text = self.text_embedding(tokens) if bool(has_text.any()) else nothing
        return Embeddings(image, text, nothing, has_image, has_text, torch.zeros_like(has_text))
