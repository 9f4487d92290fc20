"""CommerceMM (Yu et al., KDD 2022, arXiv 2202.07247): image tower, text tower, one fusion encoder, three embeddings.

A product page or a query has up to three embeddings: i (image), t (text) and m (image and text fused).
First cut: image-text contrast, matching and masked words in one update, the cross-pair retrieval terms in another.
Legend: B batch, V views, G image tokens a view, T text tokens, D width, K classes.

Two choices of ours for small data, where the paper is silent: the text projection starts as the identity, so that t starts
in the sentence space of the frozen tower, to which the tower's plain word embeddings are added (first-and-last-layer pooling:
the last layer knows what a text means, the first which words it has); and the fusion encoder's first token starts as the sum of i and t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ModelConfig
from models.dataset import Batch
from models.towers import Towers


@dataclass
class Embeddings:
    """i, t, m `(B, D)`, L2-normalised, with presence masks `(B,)`; m exists where both are present."""

    image: Tensor
    text: Tensor
    multimodal: Tensor
    has_image: Tensor
    has_text: Tensor

    def split(self, size: int) -> tuple[Embeddings, Embeddings]:
        """The first `size` rows, and the others."""
        parts = [(value[:size], value[size:]) for value in vars(self).values()]
        return Embeddings(*(part[0] for part in parts)), Embeddings(*(part[1] for part in parts))


class FusionLayer(nn.Module):
    """One pre-norm transformer layer over text and image tokens (merged attention)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        narrow = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), narrow)
        for last in (self.out, narrow):
            nn.init.normal_(last.weight, std=0.02 / width**0.5)
            nn.init.zeros_(last.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor, answers: int | None = None) -> Tensor:
        """Hidden states of the first `answers` positions `(B, A, D)`, all of them by default; every position is attended to."""
        B, L, D = x_BLD.shape
        A = L if answers is None else answers
        normed = self.norm_attention(x_BLD)
        q = self._heads(self.query(normed[:, :A]))
        k, v = (self._heads(part) for part in self.key_value(normed).chunk(2, dim=-1))
        scores_BHAL = (q @ k.transpose(-1, -2)) * (D // self.heads) ** -0.5  # short rows: faster than the fused kernel on CPU
        scores_BHAL = scores_BHAL.masked_fill(~mask_BL[:, None, None, :], -1e4)
        attended = scores_BHAL.softmax(dim=-1).to(v.dtype) @ v
        x_BAD = x_BLD[:, :A] + self.out(attended.transpose(1, 2).reshape(B, A, D))
        return x_BAD + self.mlp(self.norm_mlp(x_BAD))

    def _heads(self, x: Tensor) -> Tensor:
        """`(B, L, D)` -> `(B, H, L, D / H)`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CommerceMM(nn.Module):
    """`embed` and `classify` are the faces that serving sees; training also uses `encode`, `embeddings` and the heads."""

    term_weights: Tensor  # (2, 3) of i, t and m: for images, for texts

    def __init__(self, config: ModelConfig, classes: int = 0) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.towers = Towers(config)
        channels = self.towers.image_channels
        self.image_norm = nn.LayerNorm(channels)
        self.image_project = _projection(channels, width, config.dropout)
        self.text_project = _projection(width, width, config.dropout)
        self.text_pool = nn.Linear(width, 1)
        self.image_token = nn.Linear(channels, width)
        self.image_position = nn.Parameter(torch.zeros(config.image_grid**2, width))
        self.modality = nn.Parameter(torch.zeros(3, width))  # first token, text, image
        self.layers = nn.ModuleList(FusionLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.multimodal_project = nn.Linear(width, width)
        self.match_head = nn.Linear(width, 2)
        self.word_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.word_bias = nn.Parameter(torch.zeros(self.towers.text.word_embeddings.shape[0]))
        self.class_head = nn.Linear(3 * width, classes) if classes else None
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.register_buffer("term_weights", torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
        self._start_small()

    def _start_small(self) -> None:
        for value in self.text_project[3].parameters():
            nn.init.zeros_(value)
        nn.init.zeros_(self.text_pool.weight)
        nn.init.normal_(self.multimodal_project.weight, std=0.02)
        nn.init.zeros_(self.multimodal_project.bias)
        nn.init.normal_(self.image_position, std=0.02)
        nn.init.normal_(self.modality, std=0.02)

    @property
    def scale(self) -> Tensor:
        """1 / temperature, temperature kept within [0.01, 0.5]."""
        return self.log_scale.exp().clamp(2.0, 100.0)

    # Towers

    def encode(self, batch: Batch) -> Batch:
        """Raw tensors of `Preprocess.batch` -> tower tokens: image_tokens `(B, V * G, C)`, text_tokens `(B, T, D)` and masks.

        A batch that already holds tower tokens (from the feature cache) passes through.
        """
        if "image_tokens" in batch:
            return batch
        images, mask = batch["image"], batch["image_mask"]
        B, V = mask.shape
        G = self.config.image_grid**2
        tokens = images.new_zeros(B * V, G, self.towers.image_channels)
        if bool(mask.any()):
            tokens[mask.flatten()] = self.towers.image_tokens(images.flatten(0, 1)[mask.flatten()])
        text = batch["text_ids"].new_zeros(*batch["text_ids"].shape, self.config.width, dtype=torch.float32)
        present = batch["text_mask"].any(dim=1)
        if bool(present.any()):
            text[present] = self.towers.text_tokens(batch["text_ids"][present], batch["text_mask"][present])
        return {
            "image_tokens": tokens.view(B, V * G, -1),
            "image_tokens_mask": mask.repeat_interleave(G, dim=1),
            "text_tokens": text,
            "text_ids": batch["text_ids"],
            "text_mask": batch["text_mask"],
        }

    # Embeddings

    def image_embedding(self, tokens: Batch) -> Tensor:
        """i: `(B, D)` from the mean of the image tokens that are there."""
        mask = tokens["image_tokens_mask"][..., None]
        pooled = (tokens["image_tokens"] * mask).sum(1) / mask.sum(1).clamp(min=1)
        return F.normalize(self.image_project(self.image_norm(pooled)), dim=-1)

    def text_embedding(self, tokens: Batch) -> Tensor:
        """t: `(B, D)`: an attention-weighted mean of the tokens (even at the start) plus the bag of words, and a residual projection."""
        mask = tokens["text_mask"]
        scores = self.text_pool(tokens["text_tokens"]).squeeze(-1).masked_fill(~mask, -1e4)
        weights = F.softmax(scores.float(), dim=1) * mask
        pooled = F.normalize((weights[..., None] * tokens["text_tokens"]).sum(1), dim=-1)
        pooled = F.normalize(pooled + self.towers.text.bag_of_words(tokens["text_ids"], mask), dim=-1)
        return F.normalize(pooled + self.text_project(pooled), dim=-1)

    def fuse(self, tokens: Batch, first: Tensor, words: bool = False) -> Tensor:
        """Hidden states of [first token; text; image]: `(B, 1, D)` of the first, or with `words` `(B, 1 + T + V * G, D)` of all.

        `first` is `(B, D)`. Without `words` the last layer answers for the first token alone: the same value at half the cost.
        """
        images, image_mask = tokens["image_tokens"], tokens["image_tokens_mask"]
        views = images.shape[1] // self.config.image_grid**2
        text = tokens["text_tokens"] + self.modality[1]
        image = self.image_token(self.image_norm(images)) + self.image_position.repeat(views, 1) + self.modality[2]
        hidden = torch.cat([(first + self.modality[0])[:, None], text.to(first.dtype)], dim=1)
        mask = torch.cat([torch.ones_like(tokens["text_mask"][:, :1]), tokens["text_mask"]], dim=1)
        for depth, layer in enumerate(self.layers):
            if depth == self.config.text_layers:
                hidden, mask = torch.cat([hidden, image.to(hidden.dtype)], dim=1), torch.cat([mask, image_mask], dim=1)
            last = depth == len(self.layers) - 1
            hidden = layer(hidden, mask, answers=1 if last and not words else None)
        return self.norm(hidden)

    def multimodal(self, first: Tensor, hidden: Tensor) -> Tensor:
        """m: `(B, D)` from the first token of the fusion encoder."""
        return F.normalize(first + self.multimodal_project(hidden[:, 0]), dim=-1)

    def embeddings(self, batch: Batch) -> Embeddings:
        """i, t and m of every row of the batch."""
        tokens = self.encode(batch)
        image, text = self.image_embedding(tokens), self.text_embedding(tokens)
        first = self.first_token(tokens, image, text)
        multimodal = self.multimodal(first, self.fuse(tokens, first))
        return Embeddings(image, text, multimodal, *presence(tokens))

    def unimodal(self, batch: Batch) -> Embeddings:
        """i and t of every row; m is left at zero, for rows that need no fusion."""
        tokens = self.encode(batch)
        image, text = self.image_embedding(tokens), self.text_embedding(tokens)
        return Embeddings(image, text, torch.zeros_like(text), *presence(tokens))

    def first_token(self, tokens: Batch, image: Tensor, text: Tensor) -> Tensor:
        """`(B, D)`: the sum of the embeddings that are present."""
        has_image, has_text = presence(tokens)
        return image * has_image[:, None] + text * has_text[:, None]

    # The faces that serving sees

    def embed(self, batch: Batch) -> Tensor:
        """`(B, 3 * D)`, L2-normalised, from whichever modalities a row has.

        A row with both is [i, t, m] side by side. A row with one repeats it three times, each times its term's weight: so
        the inner product with a page is the weighted sum of the paper's terms, say T->I, T->T and T->M (papers.md 1.4).
        """
        tokens = self.encode(batch)
        has_image, has_text = presence(tokens)
        return self.joined(self.embeddings(tokens) if bool((has_image & has_text).any()) else self.unimodal(tokens))

    def joined(self, found: Embeddings) -> Tensor:
        """`(B, 3 * D)`: what `embed` makes of i, t and m by the present weights of the terms."""
        sides = zip((found.image, found.text), self.term_weights, strict=True)
        image, text = ((part[:, None] * weights[:, None]).flatten(1) for part, weights in sides)
        page = torch.cat([found.image, found.text, found.multimodal], dim=1)
        one = torch.where(found.has_image[:, None], image, text)
        return F.normalize(torch.where((found.has_image & found.has_text)[:, None], page, one), dim=1)

    def classify(self, batch: Batch) -> Tensor:
        """Logits `(B, K)` from i, t and the fused first token; a missing modality contributes zeros."""
        if self.class_head is None:
            raise ValueError("this model has no class head: fine-tune it for the task 'categorize'")
        tokens = self.encode(batch)
        image, text = self.image_embedding(tokens), self.text_embedding(tokens)
        has_image, has_text = presence(tokens)
        first = self.first_token(tokens, image, text)
        hidden = self.fuse(tokens, first)
        return self.class_head(torch.cat([image * has_image[:, None], text * has_text[:, None], hidden[:, 0]], dim=-1))

    def word_logits(self, hidden: Tensor) -> Tensor:
        """`(K, D)` hidden states -> `(K, vocabulary)`; the decoder is tied to the text tower's word embeddings."""
        return self.word_head(hidden) @ self.towers.text.word_embeddings.T + self.word_bias


def _projection(channels: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width))


def presence(tokens: Batch) -> tuple[Tensor, Tensor]:
    """`(B,)` bool twice: the row has an image, the row has a text."""
    return tokens["image_tokens_mask"].any(dim=1), tokens["text_mask"].any(dim=1)
