"""Pixels for towers that learn: what serving would make of the same image, kept once, made again when damaged, learnt from."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from models.architectures import build
from models.architectures.base import Architecture
from models.config import ARCHITECTURES
from models.dataset import Pictures, ProductData
from models.features import FeatureCache, load_product_data
from models.pixels import PixelCache, cache_for
from models.preprocess import Preprocess, image_spec
from models.pretraining import OBJECTIVES, pretrain
from models.recipes import Recipe
from models.towers import native_bf16
from tests.models.elsewhere import ELSEWHERE, Elsewhere
from tests.models.made import close, config, preprocess, tiny_model
from tests.models.test_features import HALF, PHOTOS, QUERIES, make_snapshot, make_table, strip

TRAINING = ["train", "catalogue"]
ALL = torch.arange(6)
RECIPE = Recipe(steps=4, batch=4, fused=4, learning_rate=1e-2, checkpoint_every=4)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(snapshot, table) of six products, one of them with a video, each with a training query and two of them with one for posts."""
    folder = tmp_path_factory.mktemp("shop")
    asked = [{"qid": f"t{row}", "text": f"sofa {row}", "relevant": [f"p{row}"], "split": "train"} for row in (0, 1, 4, 5)]
    snapshot = make_snapshot(folder, [*QUERIES, *PHOTOS, *asked])
    return snapshot, make_table(snapshot, folder / "table")


def learning(architecture: str = "commercemm") -> Any:
    """A tiny model whose towers learn; every weight is random, none of it in training mode."""
    torch.manual_seed(0)
    model = build(replace(config(architecture), trained_towers=True))
    model.load_state_dict(tiny_model(architecture=architecture).state_dict(), strict=architecture != "scale")
    return model.eval()


def loaded(shop: tuple[Path, Path], folder: Path, model: Architecture, of: Callable[..., Any] = cache_for) -> ProductData:
    return load_product_data(*shop, of(folder, model, preprocess()), model.learns_from_scenes)


def pictures(found: object) -> Pictures:
    assert isinstance(found, Pictures)
    return found


def test_pixels_are_those_that_serving_makes_of_the_same_image(shop: tuple[Path, Path], tmp_path: Path) -> None:
    model = learning()
    data = loaded(shop, tmp_path, model)
    rows = Snapshot.open(shop[0]).products().to_pylist()
    photos = [decode_image(row["images"][0]) if row["images"] else None for row in rows]
    words = [preprocess().product_text(row["title"], row["description"]) for row in rows]
    served, batch = preprocess().batch(photos, words), data.products(ALL)
    assert batch["image"].dtype == torch.uint8
    there = served["image_mask"][:, 0]
    normal = image_spec(model.config).normalised(batch["image"])
    assert torch.equal(normal[there], served["image"][there])
    assert torch.equal(batch["image_mask"], served["image_mask"])
    assert torch.equal(batch["text_ids"], served["text_ids"])
    with torch.inference_mode():
        assert close(model.embed(batch), model.embed(served))
        assert close(model.embed(data.text_queries(torch.tensor([0]))), model.embed(preprocess().batch([None], data.query_texts[:1])))
        view = torch.tensor([data.view_ids.index("i0")])
        photo = Image.open(shop[0].parent / "shop" / "gold.png").convert("RGB")
        assert close(model.embed(data.view_queries(view)), model.embed(preprocess().batch([photo], [None])))
        post = model.embed(data.posts(view, torch.tensor([0])))
        assert close(post, model.embed(preprocess().batch([photo], data.query_texts[:1])))


def test_frames_of_videos_are_those_that_serving_chooses(shop: tuple[Path, Path], tmp_path: Path) -> None:
    data = loaded(shop, tmp_path, learning("scale"))
    batch = data.products(ALL)
    shades = [Image.new("RGB", (32, 32), (20 * frame,) * 3) for frame in range(8)]
    served = preprocess().batch([None], ["a film"], videos=[shades])
    assert torch.equal(image_spec(config("scale")).normalised(batch["video"][1]), served["video"][0])
    assert batch["video_mask"].any(dim=1).tolist() == [False, True, False, False, False, False]
    assert torch.equal(batch["audio_tokens"], loaded(shop, tmp_path, tiny_model(architecture="scale")).products(ALL)["audio_tokens"])


def test_a_short_video_has_as_many_frames_as_it_has(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, learning("scale"), preprocess())
    kept = cache.films([cache.videos("short", iter([strip(2), strip(8)]), 2)], torch.tensor([0, 1, -1])).take(torch.arange(3), "video")
    assert kept["video_mask"].sum(dim=1).tolist() == [2, preprocess().specs.video.frames, 0]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every image that is resized."""
    seen, square = [0], Preprocess.square

    def counted(self: Preprocess, image: Image.Image) -> torch.Tensor:
        seen[0] += 1
        return square(self, image)

    monkeypatch.setattr(Preprocess, "square", counted)
    return seen


def test_files_are_mapped_and_made_once_for_all_models(shop: tuple[Path, Path], tmp_path: Path, decoded: list[int]) -> None:
    first = loaded(shop, tmp_path, learning())
    assert decoded == [5 + 7]  # an image of five products; two further ones, four frames and a shopper's photo
    files = pictures(first.images).files
    assert all(isinstance(file, np.memmap) for file in files)
    again = loaded(shop, tmp_path, learning("interbert"))  # another architecture, the same pictures
    assert decoded == [5 + 7]
    assert torch.equal(again.products(ALL)["image"], first.products(ALL)["image"])
    bigger = Preprocess(replace(preprocess().specs, image=replace(preprocess().image, size=16)), preprocess().tokenizer)
    load_product_data(*shop, PixelCache(tmp_path, learning(), bigger))
    assert decoded == [2 * (5 + 7)]


def test_what_is_read_is_never_written(shop: tuple[Path, Path], tmp_path: Path) -> None:
    data = loaded(shop, tmp_path, learning())
    batch = data.products(ALL)
    batch["image"].fill_(7)
    assert not torch.equal(data.products(ALL)["image"], batch["image"])


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def blank(path: Path) -> None:
    """As a disk may leave a file whose name was written before its content."""
    path.write_bytes(bytes(path.stat().st_size))


def of_another(path: Path) -> None:
    np.save(path, np.zeros(3))


@pytest.mark.parametrize("damage", [torn, emptied, blank, of_another])
def test_a_damaged_file_is_made_again(
    damage: Callable[[Path], None], shop: tuple[Path, Path], tmp_path: Path, decoded: list[int]
) -> None:
    before = loaded(shop, tmp_path, learning()).products(ALL)["image"]
    (main,) = tmp_path.glob("main-*.npy")
    damage(main)
    decoded[0] = 0
    assert torch.equal(loaded(shop, tmp_path, learning()).products(ALL)["image"], before)
    assert decoded == [5]


def test_processes_that_ask_at_once_decode_once(shop: tuple[Path, Path], tmp_path: Path, decoded: list[int]) -> None:
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: loaded(shop, tmp_path, learning()).products(ALL)["image"], range(3)))
    assert decoded == [5 + 7]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def losses(model: Any, data: ProductData) -> dict[str, float]:
    """Those of all updates of the last steps, nothing learnt meanwhile."""
    updates = OBJECTIVES[model.config.architecture].updates(model, data, data.whole_pages(*TRAINING), preprocess(), RECIPE)
    found = {}
    for step in range(1, RECIPE.steps):
        for update in updates(step):
            found |= {f"{step} {name}": float(loss.detach()) for name, loss in update().items()}
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_from_pixels_is_the_step_from_tokens_while_nothing_learns(name: str, shop: tuple[Path, Path], tmp_path: Path) -> None:
    model = learning(name)
    pixels = losses(model, loaded(shop, tmp_path, model))
    tokens = losses(model, loaded(shop, tmp_path, model, FeatureCache))
    assert len(pixels) >= 3 * len(OBJECTIVES[name].FAMILIES) - 3
    assert pixels == pytest.approx(tokens, rel=2 * HALF, abs=2 * HALF)  # tokens are kept as float16


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_pixels_go_to_where_the_model_is(name: str, shop: tuple[Path, Path], tmp_path: Path) -> None:
    model = learning(name)
    data = loaded(shop, tmp_path, model)
    here = losses(model, data)
    with Elsewhere():
        assert losses(model.to(ELSEWHERE), data) == pytest.approx(here, rel=2e-2 if native_bf16(torch.device("cpu")) else 1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("chunk", [0, 2])
def test_both_towers_learn(name: str, chunk: int, shop: tuple[Path, Path], tmp_path: Path) -> None:
    model = learning(name)
    data = loaded(shop, tmp_path / "cache", model)
    before = {key: value.clone() for key, value in model.towers.named_parameters()}
    history = pretrain(model, data, preprocess(), replace(RECIPE, chunk=chunk), tmp_path / "checkpoints")
    assert all(np.isfinite(row["loss"]) for row in history)
    changed = {key for key, value in model.towers.named_parameters() if not torch.equal(value, before[key])}
    assert {"image.patches.weight", "text.net.encoder.layer.0.attention.self.query.weight"} <= changed
    assert not any(key.startswith("image.classifier") for key in changed)  # it names what masked regions show


def test_towers_that_learn_are_not_fed_what_they_said_before(shop: tuple[Path, Path], tmp_path: Path) -> None:
    model = learning()
    with pytest.raises(ValueError, match="cached tokens"):
        pretrain(model, loaded(shop, tmp_path, model, FeatureCache), preprocess(), RECIPE, tmp_path / "checkpoints")
