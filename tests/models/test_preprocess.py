"""The one definition of pixels and words: golden values, and a digest that changes with everything it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import models.preprocess
from models.preprocess import ImageSpec, Preprocess, Specs
from models.towers import tokenizer_of
from tests.models.made import preprocess


def specs(**changed: Any) -> Specs:
    """The definition of the tiny size with some parts changed."""
    return replace(preprocess().specs, **changed)


def test_pixels_by_hand() -> None:
    # 2 x 2 pixels, no resize: (value / 255 - 0.498) / 0.502, channels first
    image = Image.fromarray(np.array([[[255, 0, 128], [0, 0, 0]], [[51, 102, 153], [255, 255, 255]]], dtype=np.uint8))
    pixels = Preprocess(specs(image=ImageSpec(2)), tokenizer_of("tiny")).pixels(image)
    expected = [
        [[1.0, -0.99203], [-0.59363, 1.0]],
        [[-0.99203, -0.99203], [-0.19522, 1.0]],
        [[0.00788, -0.99203], [0.20319, 1.0]],
    ]
    assert pixels.dtype == torch.float32
    assert pixels.numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_a_made_image_has_the_golden_pixels() -> None:
    ramp = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3) * 7919 % 251
    pixels = preprocess().pixels(Image.fromarray(ramp.astype(np.uint8)))
    assert pixels.shape == (3, 32, 32)
    found = [pixels[0, 0, 0], pixels[1, 15, 15], pixels[2, 31, 31], pixels.mean(), pixels.std()]
    assert [float(value) for value in found] == pytest.approx([-0.2577, -0.2499, -0.5389, -0.0153, 0.2192], abs=1e-4)


def test_the_whole_image_is_seen() -> None:
    wide = Image.new("RGB", (90, 30), "white")
    wide.paste("black", (0, 0, 45, 30))
    pixels = preprocess().pixels(wide)[0]
    assert pixels[:, 0].max() < -0.9  # squeezed to a square, not cropped
    assert pixels[:, -1].min() > 0.9


def test_tokens_of_words() -> None:
    ids, mask = preprocess().tokens(["Red SOFA", ""])
    assert preprocess().tokenizer.decode(ids[0].tolist(), skip_special_tokens=False) == "[CLS] red sofa [SEP]"
    assert mask.tolist() == [[True] * 4, [False] * 4]
    assert not ids[1].any()


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_text_has_an_empty_mask(empty: str) -> None:
    ids, mask = preprocess().tokens([empty])
    assert ids.shape == (1, 1)
    assert not mask.any()


def test_a_long_text_is_cut() -> None:
    ids, mask = preprocess().tokens(["word " * 100])
    assert ids.shape == (1, 16)
    assert mask.all()
    assert ids[0, -1] == preprocess().tokenizer.token_to_id("[SEP]")


def test_a_batch_says_what_is_there() -> None:
    batch = preprocess().batch([Image.new("RGB", (8, 8), "white"), None], [None, "lamp"])
    assert batch["image"].shape == (2, 1, 3, 32, 32)
    assert batch["image_mask"].tolist() == [[True], [False]]
    assert batch["text_mask"].any(dim=1).tolist() == [False, True]
    assert not batch["image"][1].any()


def test_a_batch_has_table_video_and_sound_only_where_a_row_has_them() -> None:
    film = [Image.new("RGB", (8, 8), "white")] * 2
    tone = np.sin(np.arange(8_000) / 5).astype(np.float32), 16_000
    alone = preprocess().batch([None], ["lamp"], [None], [None], [None])
    assert alone.keys() == preprocess().batch([None], ["lamp"]).keys()
    batch = preprocess().batch([None] * 2, ["lamp", None], [None, {"colour": "red"}], [film, None], [None, tone])
    assert batch["table_mask"].any(dim=1).tolist() == [False, True]
    assert batch["video"].shape == (2, 3, 3, 32, 32)
    assert batch["video_mask"].tolist() == [[True, True, False], [False] * 3]
    assert torch.equal(batch["video"][0, :2], preprocess().frames(film))
    heard = preprocess().sound(*tone)
    assert batch["audio_tokens"].shape == (2, 8, 8)
    assert batch["audio_mask"].sum(dim=1).tolist() == [0, len(heard)]
    assert torch.equal(batch["audio_tokens"][1, : len(heard)], heard)


def test_product_text_is_title_and_start_of_the_description() -> None:
    assert preprocess().product_text(" A chair ", "Made of oak") == "A chair. Made of oak"
    assert preprocess().product_text("A chair", "") == "A chair"
    assert preprocess().product_text("", "Made of oak") == "Made of oak"
    assert len(preprocess().product_text("A", "x" * 1000)) == 403


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    preprocess().save(tmp_path)
    loaded = Preprocess.load(tmp_path)
    assert loaded.definition == preprocess().definition
    assert loaded.digest == preprocess().digest == json.loads((tmp_path / "preprocess.json").read_text())["digest"]
    assert (loaded.mask_id, loaded.special_ids) == (103, (0, 101, 102, 100))


def test_the_digest_changes_with_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    image, text, tokenizer = specs().image, specs().text, tokenizer_of("tiny")
    other_words = tokenizer_of("tiny")
    other_words.add_tokens(["goodsight"])
    made = [
        Preprocess(specs(), tokenizer).digest,
        Preprocess(specs(image=replace(image, size=64)), tokenizer).digest,
        Preprocess(specs(image=replace(image, mean=(0.5, 0.5, 0.5))), tokenizer).digest,
        Preprocess(specs(image=replace(image, std=(0.5, 0.5, 0.5))), tokenizer).digest,
        Preprocess(specs(text=replace(text, length=17)), tokenizer).digest,
        Preprocess(specs(text=replace(text, description_characters=10)), tokenizer).digest,
        Preprocess(specs(), other_words).digest,
    ]
    monkeypatch.setattr(models.preprocess, "CODE_VERSION", 99)
    made.append(Preprocess(specs(), tokenizer).digest)
    assert len(set(made)) == len(made)


def test_a_table_is_its_pairs_one_after_the_other() -> None:
    ids, mask, parts = preprocess().tables([{"seat_height": 45, "colours": ["red", "blue"], "old": None}, {}])
    words = preprocess().tokenizer.decode(ids[0].tolist(), skip_special_tokens=False)
    assert words == "[CLS] seat height 45 colours red, blue [SEP]"
    assert parts[0].tolist() == [0, 1, 1, 2, 3, 4, 4, 4, 0]
    assert mask.tolist() == [[True] * 9, [False] * 9]


def test_a_long_table_and_a_long_value_are_cut() -> None:
    ids, _, parts = preprocess().tables([{"text": "word " * 50}, {f"name {n}": n for n in range(30)}])
    assert (parts[0] == 2).sum() == preprocess().specs.table.value
    assert ids.shape[1] == preprocess().specs.table.length
    assert ids[1, -1] == preprocess().sep_id and parts[1, -1] == 0


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_frames_are_evenly_spread(count: int) -> None:
    pictures = [Image.new("RGB", (8, 8), (20 * place,) * 3) for place in range(count)]
    found = preprocess().frames(pictures)
    wanted = {1: [0], 2: [0, 1], 3: [0, 1, 2], 12: [0, 4, 8]}[count]
    assert torch.equal(found, torch.stack([preprocess().pixels(pictures[place]) for place in wanted]))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_higher_tone_is_in_a_higher_bin_at_any_rate(rate: int) -> None:
    def loudest(hertz: float) -> int:
        samples = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
        tokens = preprocess().sound(samples, rate)
        assert tokens.shape[1] == preprocess().specs.audio.mels
        return int(tokens.mean(dim=0).argmax())

    bins = [loudest(hertz) for hertz in (200, 800, 3000)]
    assert bins == sorted(set(bins))


def test_a_sound_has_a_token_for_each_equal_time_and_never_more_than_asked() -> None:
    spec = preprocess().specs.audio
    seconds = spec.frames * spec.hop / spec.rate
    rng = np.random.default_rng(0)
    for count in (1, 3, 100):
        samples = rng.normal(size=int(count * seconds * spec.rate) - spec.hop).astype(np.float32) / 10
        tokens = preprocess().sound(samples, spec.rate)
        assert len(tokens) == min(count, spec.tokens)
        assert tokens.isfinite().all()
    assert preprocess().sound(np.zeros(10, dtype=np.float32), spec.rate).isfinite().all()
