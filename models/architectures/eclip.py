"""ECLIP (Jin et al., CVPR 2023, arXiv 2304.02853): an instance decoder whose learnable queries compete for image tokens.

The first query is the product's: the title says which one, by way of the attention alone. The others take the rest of the
picture. The paper's equations were not at hand: queries, prompt and losses are the reconstruction of papers.md 2.2 to 2.5.

A choice of ours for small data: the decoder reads the cells in the space of v, an instance is the mean of the cells that its
query took plus what the decoder adds, and queries and keys start as the identity. So the product's map starts as the
similarity of each cell with the title, and its instance as the picture's embedding of where that map is high.
Legend: B batch, G image tokens, T text tokens, Q queries, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures.base import DualEncoder, Embeddings, presence
from models.architectures.layers import attended, masked_mean, projection, split_heads
from models.config import ModelConfig
from models.dataset import Batch

QUIET = 0.1  # of a query beside its prompt, at the start


@dataclass
class Instances:
    """What the decoder saw: the `product`'s instance `(B, D)`; `taken` `(B, Q, D)`, the mean of the cells that each query took,
    the product's first, all L2-normalised; and the product's `map` `(B, G)`, sum 1.
    """

    product: Tensor
    taken: Tensor
    map: Tensor


class InstanceLayer(nn.Module):
    """Queries look at each other, then compete for image tokens (softmax over queries, as in slot attention), then an MLP.

    The prompt moves only what the first query looks for: it is added to the query of the cross-attention, never to the
    residual stream, so nothing of the title can be copied to the output (the leak that papers.md 2.3 warns of).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        nn.init.constant_(self.norm_cross.weight, QUIET)
        with torch.no_grad():
            for weight in (self.query.weight, self.key_value.weight[:width]):
                weight.copy_(torch.eye(width))

    def forward(self, queries: Tensor, prompt: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """queries `(B, Q, D)`, prompt `(B, D)`, tokens `(B, G, D)`, mask `(B, G)` -> queries and attention `(B, Q, G)`."""
        normed = self.norm_self(queries)
        queries = queries + self.self_attention(normed, normed, normed, need_weights=False)[0]
        asked = self.norm_cross(queries)
        asked = torch.cat([asked[:, :1] + prompt[:, None], asked[:, 1:]], dim=1)
        q = split_heads(self.query(asked), self.heads)
        k, v = (split_heads(part, self.heads) for part in self.key_value(tokens).chunk(2, dim=-1))
        scores_BHQG = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        share = scores_BHQG.float().softmax(dim=2) * mask[:, None, None, :]
        weights = share / (share.sum(dim=-1, keepdim=True) + 1e-6)
        taken = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        queries = queries + self.out(taken)
        return queries + self.mlp(self.norm_mlp(queries)), weights.mean(dim=1)


class ECLIP(DualEncoder):
    """Objectives: itc (image and title), inter (the product across its images), intra (the product against the rest of the image),
    place (the product's map against its box in a scene).
    """

    learns_from_scenes = True

    def __init__(self, config: ModelConfig, classes: int = 0) -> None:
        width = config.width
        super().__init__(config, classes, class_width=3 * width)
        channels = self.towers.image_channels
        self.image_norm = nn.LayerNorm(channels)
        self.image_project = projection(channels, width, config.dropout)
        self.text_project = projection(self.towers.text.width, width, config.dropout)
        self.image_position = nn.Parameter(0.02 * torch.randn(config.image_grid**2, width))
        self.token_norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(0.02 * torch.randn(config.queries, width))
        self.prompt = nn.Linear(width, width)
        self.no_title = nn.Parameter(torch.zeros(width))  # the prompt of a row without a text
        self.layers = nn.ModuleList(InstanceLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.instance_project = nn.Linear(width, width)
        self._start_from_similarity()

    def _start_from_similarity(self) -> None:
        for value in (*self.text_project[3].parameters(), self.prompt.bias, self.instance_project.bias):
            nn.init.zeros_(value)
        nn.init.normal_(self.instance_project.weight, std=0.02 / self.config.width**0.5)
        with torch.no_grad():  # t is of length 1, a normed cell of the root of the width
            self.prompt.weight.copy_(torch.eye(self.config.width) * self.config.width**0.5)

    def image_embedding(self, tokens: Batch) -> Tensor:
        """v: `(B, D)` of the whole picture."""
        pooled = masked_mean(tokens["image_tokens"], tokens["image_tokens_mask"])
        return F.normalize(self.image_project(self.image_norm(pooled)), dim=-1)

    def cell_embeddings(self, tokens: Batch) -> Tensor:
        """`(B, G, D)`: each cell projected as a whole picture is."""
        return F.normalize(self.image_project(self.image_norm(tokens["image_tokens"])), dim=-1)

    def text_embedding(self, tokens: Batch) -> Tensor:
        """t: `(B, D)`, which starts in the tower's sentence space and its bag of words."""
        mask = tokens["text_mask"]
        pooled = F.normalize(masked_mean(tokens["text_tokens"], mask), dim=-1)
        pooled = F.normalize(pooled + self.towers.text.bag_of_words(tokens["text_ids"], mask), dim=-1)
        return F.normalize(pooled + self.text_project(pooled), dim=-1)

    def instances(self, tokens: Batch, text: Tensor) -> Instances:
        """The product that `text` `(B, D)` (t, zero for none) names in each picture, and the rest of the picture."""
        images = tokens["image_tokens"]
        views = images.shape[1] // self.config.image_grid**2
        cells = self.cell_embeddings(tokens)
        keys = self.token_norm(cells) + self.image_position.repeat(views, 1)
        mask = attended(tokens["image_tokens_mask"])
        prompt = torch.where(presence(tokens, "text")[:, None], self.prompt(text), self.no_title)
        queries = self.queries.expand(len(images), -1, -1)
        for layer in self.layers:
            queries, weights = layer(queries, prompt, keys, mask)
        taken = F.normalize(weights.to(cells.dtype) @ cells, dim=-1)
        product = F.normalize(taken[:, 0] + self.instance_project(self.norm(queries[:, 0])), dim=-1)
        return Instances(product, taken, weights[:, 0])

    def ground(self, batch: Batch) -> Tensor:
        """`(B, G)`, sum 1: where in the picture the titled product is, row by row of the image grid."""
        tokens = self.encode(batch)
        return self.instances(tokens, self.text_embedding(tokens)).map

    def embeddings(self, tokens: Batch) -> Embeddings:
        found = self.unimodal(tokens)
        product = self.instances(tokens, found.text).product
        return Embeddings(found.image, found.text, product, found.has_image, found.has_text, found.has_image & found.has_text)

    def class_features(self, tokens: Batch) -> Tensor:
        """v, t and the product's instance, each of mean square 1, `(B, 3 * D)`."""
        found = self.unimodal(tokens)
        product = self.instances(tokens, found.text).product
        has_image, has_text = found.has_image[:, None], found.has_text[:, None]
        parts = [found.image * has_image, found.text * has_text, product * has_image]
        return torch.cat(parts, dim=-1) * self.config.width**0.5
