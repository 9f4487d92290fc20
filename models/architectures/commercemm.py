"""CommerceMM (Yu et al., KDD 2022, arXiv 2202.07247): image tower, text tower, one stack of layers, three embeddings.

The stack's first K layers see the text alone, the others text and image tokens together (merged attention); K is drawn
anew in every pretraining step (modality randomization), so one set of weights serves every K: a larger K is cheaper. An answer
may take one of three depths (`at_effort`): the configured K, the largest, or no layer at all, where m is what it starts as.
Legend: B batch, V views, G image tokens a view, T text tokens, D width, C channels of the image tower.

Two choices of ours for small data, where the paper is silent: the text projection starts as the identity, so that t starts
in the sentence space of the frozen tower, to which the tower's plain word embeddings are added (first-and-last-layer pooling:
the last layer knows what a text means, the first which words it has); and the stack's first token starts as the sum of i and t.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures.base import DualEncoder, Embeddings, presence
from models.architectures.layers import EncoderLayer, projection
from models.config import EFFORTS, Effort, ModelConfig
from models.dataset import Batch

POOLS = 4  # means of the image tokens that i is made of


class CommerceMM(DualEncoder):
    """Objectives: itc, itm, mlm, mim_kl, mim_fr in one update; up to 3 x 3 Omni-Retrieval terms in the other."""

    efforts = EFFORTS

    def __init__(self, config: ModelConfig, classes: int = 0) -> None:
        width = config.width
        super().__init__(config, classes, class_width=3 * width)
        channels = self.towers.image_channels
        self.text_layers = config.text_layers  # K
        self.fuses = True
        self.image_norm = nn.LayerNorm(channels)
        self.image_pool = nn.Linear(channels, POOLS)
        self.image_project = projection(POOLS * channels, width, config.dropout)
        self.text_project = projection(self.towers.text.width, width, config.dropout)
        self.text_pool = nn.Linear(width, 1)
        self.image_token = nn.Linear(channels, width)
        self.image_position = nn.Parameter(torch.zeros(config.image_grid**2, width))
        self.modality = nn.Parameter(torch.zeros(3, width))  # first token, text, image
        self.layers = nn.ModuleList(EncoderLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.multimodal_project = nn.Linear(width, width)
        self.match_head = nn.Linear(width, 2)
        self.word_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.word_bias = nn.Parameter(torch.zeros(self.towers.text.vocabulary))
        self.region_head = nn.Linear(width, self.towers.image_classes)
        self.feature_head = nn.Linear(width, channels)
        self._start_small()

    def _start_small(self) -> None:
        for value in self.text_project[3].parameters():
            nn.init.zeros_(value)
        nn.init.zeros_(self.text_pool.weight)
        nn.init.zeros_(self.image_pool.weight)
        for weight in (self.multimodal_project.weight, self.image_position, self.modality, self.match_head.weight):
            nn.init.normal_(weight, std=0.02)
        nn.init.zeros_(self.multimodal_project.bias)

    @contextmanager
    def split_at(self, text_layers: int) -> Iterator[None]:
        """Within the block K is `text_layers`, from 0 (costly) to the number of layers - 1 (cheap)."""
        if not 0 <= text_layers < len(self.layers):
            raise ValueError(f"text_layers is {text_layers}, not one of 0 to {len(self.layers) - 1}")
        before, self.text_layers = self.text_layers, text_layers
        try:
            yield
        finally:
            self.text_layers = before

    @contextmanager
    def at_effort(self, effort: Effort) -> Iterator[Effort]:
        """high: K as configured; medium: the largest K; low: no layer of the stack."""
        before, self.fuses = self.fuses, effort != "low"
        try:
            with self.split_at(self.text_layers if effort == "high" else len(self.layers) - 1):
                yield effort
        finally:
            self.fuses = before

    def image_embedding(self, tokens: Batch) -> Tensor:
        """i: `(B, D)` from `POOLS` attention-weighted means of the image tokens that are there (even ones at the start)."""
        normed, mask = self.image_norm(tokens["image_tokens"]), tokens["image_tokens_mask"][..., None]
        weights = F.softmax(self.image_pool(normed).float().masked_fill(~mask, -1e4), dim=1) * mask  # (B, V * G, POOLS)
        pooled = weights.to(normed.dtype).transpose(1, 2) @ normed
        return F.normalize(self.image_project(pooled.flatten(1)), dim=-1)

    def text_embedding(self, tokens: Batch) -> Tensor:
        """t: `(B, D)`: an attention-weighted mean of the tokens (even at the start) plus the bag of words, and a residual projection."""
        mask = tokens["text_mask"]
        scores = self.text_pool(tokens["text_tokens"]).squeeze(-1).masked_fill(~mask, -1e4)
        weights = F.softmax(scores.float(), dim=1) * mask
        pooled = F.normalize((weights[..., None] * tokens["text_tokens"]).sum(1), dim=-1)
        pooled = F.normalize(pooled + self.towers.text.bag_of_words(tokens["text_ids"], mask), dim=-1)
        return F.normalize(pooled + self.text_project(pooled), dim=-1)

    def fuse(self, tokens: Batch, first: Tensor, whole: int = 0) -> tuple[Tensor, Tensor]:
        """The stack over [first token `first` `(B, D)`; text; image]: states `(B, D)` of the first token, and of all positions
        `(whole, 1 + T + V * G, D)` for the last `whole` rows.

        In the other rows the last layer answers for the first token alone: the same value at half the cost.
        """
        images, image_mask = tokens["image_tokens"], tokens["image_tokens_mask"]
        views = images.shape[1] // self.config.image_grid**2
        text = tokens["text_tokens"] + self.modality[1]
        image = self.image_token(self.image_norm(images)) + self.image_position.repeat(views, 1) + self.modality[2]
        hidden = torch.cat([(first + self.modality[0])[:, None], text.to(first.dtype)], dim=1)
        mask = torch.cat([torch.ones_like(tokens["text_mask"][:, :1]), tokens["text_mask"]], dim=1)
        for layer in self.layers[: self.text_layers]:
            hidden = layer(hidden, mask)
        hidden, mask = torch.cat([hidden, image.to(hidden.dtype)], dim=1), torch.cat([mask, image_mask], dim=1)
        for layer in self.layers[self.text_layers : -1]:
            hidden = layer(hidden, mask)
        last, few = self.layers[-1], len(hidden) - whole
        states = self.norm(last(hidden[few:], mask[few:]))
        firsts = self.norm(last(hidden[:few], mask[:few], answers=1)) if few else states[:0]
        return torch.cat([firsts[:, 0], states[:, 0]]), states

    def first_token(self, tokens: Batch, image: Tensor, text: Tensor) -> Tensor:
        """`(B, D)`: the sum of the embeddings that are present."""
        return image * presence(tokens, "image")[:, None] + text * presence(tokens, "text")[:, None]

    def multimodal(self, first: Tensor, state: Tensor) -> Tensor:
        """m: `(B, D)` from the first token before and after the stack, `(B, D)` each."""
        return F.normalize(first + self.multimodal_project(state), dim=-1)

    def embeddings(self, tokens: Batch) -> Embeddings:
        found = self.unimodal(tokens)
        first = self.first_token(tokens, found.image, found.text)
        both = found.has_image & found.has_text
        multimodal = self.multimodal(first, self.fuse(tokens, first)[0]) if self.fuses else F.normalize(first, dim=-1)
        return Embeddings(found.image, found.text, multimodal, found.has_image, found.has_text, both)

    def match(self, batch: Batch) -> Tensor:
        """`(B,)` probability that image and text belong together, to re-rank with."""
        tokens = self.encode(batch)
        found = self.unimodal(tokens)
        state, _ = self.fuse(tokens, self.first_token(tokens, found.image, found.text))
        return self.match_head(state).float().softmax(dim=1)[:, 1]

    def class_features(self, tokens: Batch) -> Tensor:
        """i and t, as long as the normed states are, and the first token of the stack, `(B, 3 * D)`."""
        found = self.unimodal(tokens)
        first = self.first_token(tokens, found.image, found.text)
        state = self.fuse(tokens, first)[0] if self.fuses else self.norm(first + self.modality[0])
        image, text = found.image * found.has_image[:, None], found.text * found.has_text[:, None]
        return torch.cat([image * self.config.width**0.5, text * self.config.width**0.5, state], dim=-1)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """`(K, D)` hidden states -> `(K, vocabulary)`; the decoder is tied to the text tower's word embeddings."""
        return self.word_head(hidden) @ self.towers.text.word_embeddings.T + self.word_bias
