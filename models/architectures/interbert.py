"""InterBERT (Lin et al., arXiv 2003.13198): one stream over image and text tokens (interaction), then two streams.

The text tower's BERT layers are the model: the first `layers` of them are the interaction module, the others the text
stream (the paper's initialisation from BERT); the image stream starts at random. With a text alone and nothing else
trained, the text stream is the pretrained BERT itself: the single-modal strength that the paper claims.
Legend: B batch, R image regions, T text tokens, D width, E width of the poolers, C channels of the image tower.

Our choice: retrieval, which the paper does by scoring pairs, also needs vectors; i and t are the streams of one modality
alone (image token 0, mean of the words), m both streams of the fused pair.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures.base import Architecture, Embeddings, presence
from models.architectures.layers import attended, masked_mean
from models.config import ModelConfig
from models.dataset import Batch
from models.objectives.regions import boxes_of_regions, regions_of_grid

IMAGE_HEADS = 8  # of the image stream at width 768


class InterBERT(Architecture):
    """Objectives: msm (masked segments), mrm (masked regions by class posteriors), itm with 20 % TF-IDF hard negatives."""

    reads_text_tokens = False
    boxes: Tensor  # (1 + R, 5)

    def __init__(self, config: ModelConfig, classes: int = 0) -> None:
        width = config.width
        super().__init__(config, classes, class_width=2 * width)
        channels, pooled = self.towers.image_channels, 4 * width // 3
        bert = self.towers.text
        if len(bert.layers) != config.layers + config.modality_layers:
            raise ValueError(f"the text tower has {len(bert.layers)} layers, not {config.layers} + {config.modality_layers}")
        bert.layers.requires_grad_(True)  # frozen towers or not
        bert.net.set_attn_implementation("eager")  # short rows: the fused kernel's backward takes twice the whole step on CPU
        self.image_input, self.image_box = nn.Linear(channels, width), nn.Linear(5, width)
        self.image_norm = nn.LayerNorm(width, eps=1e-12)
        self.modality = nn.Parameter(torch.zeros(2, width))  # image, text
        self.image_stream = bert.fresh_layers(config.modality_layers, heads=max(1, config.width * IMAGE_HEADS // 768))
        self.image_pooler = nn.Sequential(nn.Linear(width, pooled), nn.ReLU())
        self.text_pooler = nn.Sequential(nn.Linear(width, pooled), nn.ReLU())
        self.match_head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(pooled, 2))
        self.word_head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.word_bias = nn.Parameter(torch.zeros(bert.vocabulary))
        self.region_head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, self.towers.image_classes)
        )
        self.image_project, self.text_project = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.text_project.weight)
        nn.init.zeros_(self.text_project.bias)
        self.register_buffer("boxes", boxes_of_regions(config.image_grid), persistent=False)

    def freeze_towers(self) -> None:
        """But for the layers of BERT, which are the model."""
        super().freeze_towers()
        self.towers.text.layers.requires_grad_(True)

    def regions(self, tokens: Batch) -> tuple[Tensor, Tensor]:
        """`(B, R, C)` features of overlapping regions of two scales of the image grid, and their mask `(B, R)`."""
        grid = self.config.image_grid
        first = tokens["image_tokens"][:, : grid**2]
        found = regions_of_grid(first, grid)
        return found, presence(tokens, "image")[:, None].expand(-1, found.shape[1])

    def streams(self, regions: Tensor, there: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """regions `(B, R, C)`, ids `(B, T)` and masks -> image stream `(B, 1 + R, D)` and text stream `(B, T, D)`.

        The image's token 0 is the mean of the regions as they are given, so after any masking.
        """
        features = torch.cat([masked_mean(regions, there)[:, None], regions], dim=1)
        image = self.image_norm(self.image_input(features) + self.image_box(self.boxes)) + self.modality[0]
        there = torch.cat([there.any(dim=1, keepdim=True), there], dim=1)
        text = self.towers.text.embed(ids) + self.modality[1]
        layers = self.towers.text.layers
        joint = torch.cat([image, text.to(image.dtype)], dim=1)
        visible = _additive(torch.cat([there, mask], dim=1))
        for layer in layers[: self.config.layers]:
            joint = layer(joint, visible)
        image, text = joint.split([image.shape[1], text.shape[1]], dim=1)
        for layer in self.image_stream:
            image = layer(image, _additive(there))
        for layer in layers[self.config.layers :]:
            text = layer(text, _additive(mask))
        return image, text

    def match_logits(self, image: Tensor, text: Tensor) -> Tensor:
        """`(B, 2)`, the second for "matched", from the product of both streams' token 0."""
        return self.match_head(self.image_pooler(image[:, 0]) * self.text_pooler(text[:, 0]))

    def match(self, tokens: Batch) -> Tensor:
        """`(B,)` probability that image and text belong together: the paper's retrieval score, to re-rank with."""
        tokens = self.encode(tokens)
        image, text = self.streams(*self.regions(tokens), tokens["text_ids"], tokens["text_mask"])
        return self.match_logits(image, text).float().softmax(dim=1)[:, 1]

    def unimodal(self, tokens: Batch) -> Embeddings:
        has_image, has_text = presence(tokens, "image"), presence(tokens, "text")
        image = text = torch.zeros(len(has_image), self.config.width, device=has_image.device)
        if bool(has_image.any()):
            regions, there = self.regions(tokens)
            nothing = tokens["text_ids"][:, :1], torch.zeros_like(tokens["text_mask"][:, :1])
            image = F.normalize(self.image_project(self.streams(regions, there, *nothing)[0][:, 0]), dim=-1)
        if bool(has_text.any()):
            regions = tokens["image_tokens"].new_zeros(len(has_text), len(self.boxes) - 1, tokens["image_tokens"].shape[-1])
            absent = torch.zeros(regions.shape[:2], dtype=torch.bool, device=regions.device)
            words = self.streams(regions, absent, tokens["text_ids"], tokens["text_mask"])[1]
            text = self._sentence(words, tokens["text_mask"])
        return Embeddings(image, text, torch.zeros_like(image), has_image, has_text, torch.zeros_like(has_image))

    def _sentence(self, words: Tensor, mask: Tensor) -> Tensor:
        pooled = F.normalize(masked_mean(words, mask), dim=-1)
        return F.normalize(pooled + self.text_project(pooled), dim=-1)

    def embeddings(self, tokens: Batch) -> Embeddings:
        found = self.unimodal(tokens)
        image, words = self.streams(*self.regions(tokens), tokens["text_ids"], tokens["text_mask"])
        fused = F.normalize(self.image_project(image[:, 0]), dim=-1) + self._sentence(words, tokens["text_mask"])
        both = found.has_image & found.has_text
        return Embeddings(found.image, found.text, F.normalize(fused, dim=-1), found.has_image, found.has_text, both)

    def class_features(self, tokens: Batch) -> Tensor:
        """Image token 0 and the mean of the words, both fused, `(B, 2 * D)`."""
        image, words = self.streams(*self.regions(tokens), tokens["text_ids"], tokens["text_mask"])
        has_image = presence(tokens, "image")[:, None]
        return torch.cat([image[:, 0] * has_image, masked_mean(words, tokens["text_mask"])], dim=-1)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """`(K, D)` -> `(K, vocabulary)`, tied to BERT's word embeddings."""
        return self.word_head(hidden) @ self.towers.text.word_embeddings.T + self.word_bias


def _additive(mask: Tensor) -> Tensor:
    """`(B, L)` bool -> `(B, 1, 1, L)`: what BERT's layers add to their scores."""
    return (~attended(mask)[:, None, None, :]).float() * -1e4
