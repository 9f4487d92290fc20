"""SCALE (Dong et al., CVPR 2022, arXiv 2109.04275): five modality encoders, then a joint co-transformer over all their tokens.

Layout at paper size: text 36, image 1 + 36, table 64, video 1 + 12, audio 1 + 80 = 230 tokens (231 with the released code's
second image token). Where the released code and the paper differ, `variant` chooses: "" separate encoders (the paper),
"shared" the table goes through the text's encoder and the video through the image's (the code).
A missing modality is masked out; with `variant` containing "zeros" its zero tokens stay visible (the paper's imputation).
Legend: B batch, M modalities, L tokens of a modality, D width, E contrast width, C channels of the image tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures.base import Architecture, Embeddings, presence
from models.architectures.layers import EncoderLayer, attended, masked_mean
from models.config import ModelConfig
from models.dataset import MASKS, Batch
from models.objectives.regions import boxes_of_grid

SHARED = {"table": "text", "video": "image"}
GLOBAL = ("image", "video", "audio")  # modalities whose first token is the mean of the others


@dataclass
class Encoded:
    """A modality's tokens `(B, L, D)`, their mask `(B, L)` and whether a row has it `(B,)`."""

    tokens: Tensor
    mask: Tensor
    present: Tensor


class SCALE(Architecture):
    """Objectives: simcl (ten modality pairs), and a masked task a modality: mlm, mrm, mem, mfm, mam."""

    boxes: Tensor  # (1 + G, 5)

    def __init__(self, config: ModelConfig, classes: int = 0) -> None:
        width = config.width
        super().__init__(config, classes, class_width=4 * width // 3)
        self.modalities = config.modalities
        channels = {"text": self.towers.text.width, "table": self.towers.text.width, "image": self.towers.image_channels}
        channels |= {"video": self.towers.image_channels, "audio": config.mels}
        self.channels = {name: channels[name] for name in self.modalities}
        self.inputs = nn.ModuleDict({name: _input(self.channels[name], width, name) for name in self.modalities})
        self.input_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in self.modalities})
        self.box = nn.Linear(5, width)
        self.places = nn.ParameterDict({name: _places(self._length(name), width) for name in self.modalities if name != "image"})
        self.register_buffer("boxes", boxes_of_grid(config.image_grid), persistent=False)
        own = [name for name in self.modalities if self._encoder_of(name) == name]
        self.encoders = nn.ModuleDict({name: nn.ModuleList(self._encoder(name)) for name in own})
        self.joint_place = _places(sum(self._length(name) for name in self.modalities), width)
        self.joint = nn.ModuleList(EncoderLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        contrast = 4 * width // 3
        self.poolers = nn.ModuleDict({name: nn.Sequential(nn.Linear(width, contrast), nn.ReLU()) for name in self.modalities})
        self.word_head = nn.Sequential(nn.Linear(width, self.towers.text.width), nn.GELU(), nn.LayerNorm(self.towers.text.width))
        self.word_bias = nn.Parameter(torch.zeros(self.towers.text.vocabulary))
        self.feature_heads = nn.ModuleDict({name: self._feature_head(name) for name in self.modalities if name in GLOBAL})
        if classes:
            self.dense = nn.Sequential(nn.Linear(len(self.modalities) * width, contrast), nn.Dropout(config.dropout))

    def _length(self, name: str) -> int:
        config = self.config
        words = {"text": config.text_length, "table": config.table_length}
        features = {"image": 1 + config.image_grid**2, "video": 1 + config.frames, "audio": 1 + config.audio_tokens}
        return (words | features)[name]

    def _encoder_of(self, name: str) -> str:
        return SHARED.get(name, name) if "shared" in self.config.variant else name

    def _encoder(self, name: str) -> list[EncoderLayer]:
        """Layers of a modality, the narrow ones of papers.md 3.2 for features; a text tower that learns is the text's own encoder."""
        config = self.config
        count = 0 if name == "text" and config.trained_towers else config.modality_layers
        narrow = 4 * config.width // 3 if name in GLOBAL else None
        return [EncoderLayer(config.width, config.heads, narrow) for _ in range(count)]

    def _feature_head(self, name: str) -> nn.Sequential:
        width = self.config.width
        return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, self.channels[name]))

    # Modality encoders

    def encode_modalities(self, tokens: Batch) -> dict[str, Encoded]:
        """Each modality that the batch has, through its own encoder."""
        return {name: self._encode(name, tokens) for name in self.modalities if MASKS[name] in tokens}

    def _encode(self, name: str, tokens: Batch) -> Encoded:
        features, mask = tokens[f"{name}_tokens"], tokens[MASKS[name]]
        present = mask.any(dim=1)
        visible = torch.ones_like(mask) if "zeros" in self.config.variant else mask
        if name in GLOBAL:
            features = torch.cat([masked_mean(features, mask)[:, None].to(features.dtype), features], dim=1)
            visible = torch.cat([visible.any(dim=1, keepdim=True), visible], dim=1)
        hidden = self.inputs[name](features)
        L = hidden.shape[1]
        if name == "image":
            hidden = hidden + self.box(torch.cat([self.boxes[:1], self.boxes[1:].repeat((L - 1) // (len(self.boxes) - 1), 1)]))
        else:
            hidden = hidden + self.places[name][:L]
        hidden = self.input_norms[name](hidden)
        layers: Any = self.encoders[self._encoder_of(name)]
        for layer in layers:
            hidden = layer(hidden, attended(visible))
        return Encoded(hidden, visible, present)

    def pooled(self, encoded: dict[str, Encoded]) -> tuple[Tensor, Tensor]:
        """`(B, M, E)` contrast vectors of the modalities in `encoded`, and `(B, M)` bool where a row has them."""
        rows = [self.poolers[name](one.tokens[:, 0]) for name, one in encoded.items()]
        return torch.stack(rows, dim=1), torch.stack([one.present for one in encoded.values()], dim=1)

    # The joint co-transformer

    def fuse(self, encoded: dict[str, Encoded]) -> dict[str, Tensor]:
        """Hidden states of each modality `(B, L, D)` after the joint layers."""
        tokens = torch.cat([one.tokens + self._joint_place(name, one.tokens.shape[1]) for name, one in encoded.items()], dim=1)
        mask = attended(torch.cat([one.mask for one in encoded.values()], dim=1))
        for layer in self.joint:
            tokens = layer(tokens, mask)
        lengths = [one.tokens.shape[1] for one in encoded.values()]
        return dict(zip(encoded, self.norm(tokens).split(lengths, dim=1), strict=True))

    def _joint_place(self, name: str, length: int) -> Tensor:
        start = sum(self._length(other) for other in self.modalities[: self.modalities.index(name)])
        return self.joint_place[start : start + length]

    def represent(self, encoded: dict[str, Encoded]) -> Tensor:
        """`(B, D)`, L2-normalised: the sum of the first tokens of the modalities that a row has (papers.md 3.5)."""
        hidden = self.fuse(encoded)
        rows = [hidden[name][:, 0] * one.present[:, None] for name, one in encoded.items()]
        return F.normalize(torch.stack(rows).sum(dim=0), dim=-1)

    def _alone(self, encoded: dict[str, Encoded], name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        """The representation of one modality alone and where it is; zeros when no row of the batch has it."""
        if name not in encoded or not bool(encoded[name].present.any()):
            return like.new_zeros(len(like), self.config.width), torch.zeros(len(like), dtype=torch.bool, device=like.device)
        return self.represent({name: encoded[name]}), encoded[name].present

    def unimodal(self, tokens: Batch) -> Embeddings:
        encoded = self.encode_modalities({name: value for name, value in tokens.items() if name.startswith(("image", "text"))})
        like = next(iter(encoded.values())).tokens
        (image, has_image), (text, has_text) = (self._alone(encoded, name, like) for name in ("image", "text"))
        return Embeddings(image, text, torch.zeros_like(image), has_image, has_text, torch.zeros_like(has_image))

    def embeddings(self, tokens: Batch) -> Embeddings:
        encoded = self.encode_modalities(tokens)
        like = next(iter(encoded.values())).tokens
        (image, has_image), (text, has_text) = (self._alone(encoded, name, like) for name in ("image", "text"))
        several = torch.stack([presence(tokens, name) for name in encoded]).sum(dim=0) > 1
        return Embeddings(image, text, self.represent(encoded), has_image, has_text, several)

    def class_features(self, tokens: Batch) -> Tensor:
        """The first tokens of all modalities side by side through a dense layer, `(B, E)`."""
        encoded = self.encode_modalities(tokens)
        hidden = self.fuse(encoded)
        like = next(iter(hidden.values()))[:, 0]
        rows = [hidden[name][:, 0] * encoded[name].present[:, None] if name in hidden else like * 0.0 for name in self.modalities]
        return self.dense(torch.cat(rows, dim=1))

    def word_logits(self, hidden: Tensor) -> Tensor:
        """`(K, D)` -> `(K, vocabulary)`, for text and table alike; tied to the text tower's word embeddings."""
        return self.word_head(hidden) @ self.towers.text.word_embeddings.T + self.word_bias


def _input(channels: int, width: int, name: str) -> nn.Module:
    """Features to the encoder's width; words that have it already stay."""
    return nn.Identity() if name not in GLOBAL and channels == width else nn.Linear(channels, width)


def _places(length: int, width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(length, width))
