"""Layers that the architectures are made of. Legend: B batch, L positions, A positions that are answered, D width, H heads."""

from __future__ import annotations

from torch import Tensor, nn


class EncoderLayer(nn.Module):
    """One pre-norm transformer layer: self-attention, then an MLP four times as wide (`mlp` sets another width)."""

    def __init__(self, width: int, heads: int, mlp: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        wide = mlp or 4 * width
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        narrow = nn.Linear(wide, width)
        self.mlp = nn.Sequential(nn.Linear(width, wide), nn.GELU(), narrow)
        for last in (self.out, narrow):
            nn.init.normal_(last.weight, std=0.02 / width**0.5)
            nn.init.zeros_(last.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor, answers: int | None = None) -> Tensor:
        """Hidden states of the first `answers` positions `(B, A, D)`, all of them by default; every position is attended to."""
        B, L, D = x_BLD.shape
        A = L if answers is None else answers
        normed = self.norm_attention(x_BLD)
        q = split_heads(self.query(normed[:, :A]), self.heads)
        k, v = (split_heads(part, self.heads) for part in self.key_value(normed).chunk(2, dim=-1))
        scores_BHAL = (q @ k.transpose(-1, -2)) * (D // self.heads) ** -0.5  # short rows: faster than the fused kernel on CPU
        scores_BHAL = scores_BHAL.masked_fill(~mask_BL[:, None, None, :], -1e4)
        attended = scores_BHAL.softmax(dim=-1).to(v.dtype) @ v
        x_BAD = x_BLD[:, :A] + self.out(attended.transpose(1, 2).reshape(B, A, D))
        return x_BAD + self.mlp(self.norm_mlp(x_BAD))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(B, L, D)` -> `(B, H, L, D / H)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def projection(channels: int, width: int, dropout: float) -> nn.Sequential:
    """Two layers from `channels` to `width`."""
    return nn.Sequential(nn.Linear(channels, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width))


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """`(B, D)`: the mean of the tokens `(B, L, D)` that `mask` `(B, L)` names, zero where there is none."""
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def attended(mask: Tensor) -> Tensor:
    """The mask `(B, L)`, with the first position on in a row where nothing is: attention stays finite."""
    found = mask.clone()
    found[:, 0] |= ~mask.any(dim=1)
    return found
