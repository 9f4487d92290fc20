"""The feature cache: the embeddings of raw pixels and words, computed once; what becomes of queries and videos."""

from __future__ import annotations

import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from catalogue.importer import import_catalogue
from catalogue.media import decode_audio, decode_image
from catalogue.snapshot import Snapshot
from goodsight.digests import code_files
from models.architectures.commercemm import CommerceMM
from models.dataset import ProductData
from models.features import VIDEO_VIEWS, FeatureCache, load_product_data
from models.towers import Towers
from tests.catalogue.made import greys, video_file
from tests.models.made import close, preprocess, tiny_model

COLOURS = ("red", "green", "blue", "gold", "black", "white")
HALF = 2e-3  # tower tokens are kept as float16


def picture(colour: str, width: int = 48, height: int = 48) -> bytes:
    image = Image.new("RGB", (width, height), colour)
    image.paste("grey", (4, 8, 20, 40))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def strip(frames: int) -> bytes:
    """A strip of square frames, each of another grey."""
    image = Image.new("RGB", (32 * frames, 32))
    for frame in range(frames):
        image.paste((20 * frame,) * 3, (32 * frame, 0, 32 * frame + 32, 32))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(8000 * seconds)) / 8000)


def product(row: int) -> dict[str, Any]:
    """Product 0 has three images, 1 a video of eight frames and a sound, 4 no image and no attributes."""
    images = {0: ["red.png", "green.png", "blue.png"], 4: []}.get(row, [f"{COLOURS[row]}.png"])
    return {
        "id": f"p{row}",
        "title": f"{COLOURS[row]} sofa",
        "title_i18n": {"fr": f"canapé {row}", **({"de": f"Sofa {row}"} if row == 2 else {})} if row in (1, 2) else {},
        "description": "It has four legs" * (row % 2),
        "category_path": ["Furniture", "Sofas"],
        "attributes": {"colour": COLOURS[row], "seats": row} if row != 4 else {},
        "images": images,
        "video": "film.png" if row == 1 else None,
        "audio": "tone.wav" if row == 1 else None,
        "split": "test" if row in (2, 3) else "train",
        "licence": "CC0",
    }


QUERIES = [
    {"qid": "q0", "text": "red  Sofa", "relevant": ["p0"], "split": "train"},
    {"qid": "q1", "text": "Gold sofa", "relevant": ["p3"], "split": "test"},
    {"qid": "q2", "text": "RED sofa", "relevant": ["p0", "p2"], "split": "test"},
    {"qid": "q3", "text": "black sofa", "relevant": ["p4"], "split": "train"},
    {"qid": "q4", "text": "Black Sofa", "relevant": ["p5"], "split": "val"},
]
PHOTOS = [{"qid": "i0", "image": "gold.png", "relevant": ["p3"], "split": "test"}]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_snapshot(folder: Path, queries: list[dict[str, Any]], without: tuple[str, ...] = (), film: bytes | None = None) -> Path:
    (folder / "shop").mkdir(parents=True)
    for colour in COLOURS:
        (folder / "shop" / f"{colour}.png").write_bytes(picture(colour))
    (folder / "shop" / "film.png").write_bytes(film or strip(8))
    soundfile.write(folder / "shop" / "tone.wav", tone(440, 0.5), 8000)
    write_lines(folder / "shop" / "products.jsonl", [product(row) for row in range(6) if f"p{row}" not in without])
    write_lines(folder / "shop" / "queries_text.jsonl", [row for row in queries if "text" in row])
    write_lines(folder / "shop" / "queries_image.jsonl", [row for row in queries if "image" in row])
    import_catalogue(folder / "shop", folder / "snapshot")
    return folder / "snapshot"


def make_table(snapshot: Path, folder: Path, left_out: tuple[str, ...] = ()) -> Path:
    """The training table of a snapshot by the contract, without the products `left_out`."""
    opened = Snapshot.open(snapshot)
    rows = [row for row in opened.products().to_pylist() if row["id"] not in left_out]
    columns = ("title", "description", "attributes", "group", "split")
    products = [
        {"product_id": row["id"], "category": " > ".join(row["category_path"])} | {name: row[name] for name in columns}
        for row in rows
    ]
    asked = opened.queries(["id", "kind", "text", "relevant", "split"]).to_pylist()
    pairs = [
        {"query_id": row["id"], "kind": row["kind"], "text": row["text"], "product_id": id, "split": row["split"]}
        for row in asked
        for id in row["relevant"]
        if id not in left_out
    ]
    names = ("query_id", "kind", "text", "product_id", "split")
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(products), folder / "products.parquet")
    pq.write_table(
        pa.Table.from_pylist(pairs, schema=pa.schema([(name, pa.string()) for name in names])), folder / "pairs.parquet"
    )
    return folder


class CountingTowers(Towers):
    """Towers that count the rows they see."""

    seen = 0

    def image_tokens(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        return super().image_tokens(pixels)

    def text_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.seen += len(ids)
        return super().text_tokens(ids, mask)


def counting(model: CommerceMM) -> tuple[CommerceMM, CountingTowers]:
    """The model with counting towers."""
    counted, towers = copy.copy(model), CountingTowers(model.config)
    counted._modules = {**model._modules, "towers": towers}
    return counted, towers


@pytest.fixture(scope="module")
def model() -> CommerceMM:
    return tiny_model(classes=3)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_snapshot(tmp_path_factory.mktemp("shop"), QUERIES + PHOTOS)


@pytest.fixture(scope="module")
def table(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(snapshot, tmp_path_factory.mktemp("table") / "table")


@pytest.fixture(scope="module")
def data(model: CommerceMM, snapshot: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> ProductData:
    return load_product_data(
        snapshot, table, FeatureCache(tmp_path_factory.mktemp("cache"), model, preprocess())
    )


@torch.inference_mode()
def test_cached_and_raw_embeddings_agree(model: CommerceMM, snapshot: Path, data: ProductData) -> None:
    rows = Snapshot.open(snapshot).products().to_pylist()
    photos = [decode_image(row["images"][0]) if row["images"] else None for row in rows]
    words = [preprocess().product_text(row["title"], row["description"]) for row in rows]
    raw, cached = preprocess().batch(photos, words), data.products(torch.arange(6))
    assert data.product_ids == [row["id"] for row in rows]
    assert close(model.embed(cached), model.embed(raw), within=HALF)
    assert close(model.classify(cached), model.classify(raw), within=HALF)
    assert data.images.present.tolist() == [True, True, True, True, False, True]


@torch.inference_mode()
def test_cached_and_raw_queries_agree(model: CommerceMM, data: ProductData) -> None:
    asked = preprocess().batch([None] * 3, data.query_texts)
    assert close(model.embed(data.text_queries(torch.arange(3))), model.embed(asked), within=HALF)
    photo = preprocess().batch([decode_image(picture("gold"))], [None])
    row = data.view_ids.index("i0")
    assert close(model.embed(data.view_queries(torch.tensor([row]))), model.embed(photo), within=HALF)


def test_equal_words_are_one_query_held_out_when_any_is(data: ProductData) -> None:
    assert data.query_texts == ["red sofa", "gold sofa", "black sofa"]
    assert data.query_ids == ["q0", "q1", "q3"]
    assert data.query_split == ["test", "test", "val"]
    known = set(zip(data.query_pairs.query.tolist(), data.query_pairs.product.tolist(), strict=True))
    assert known == {(0, 0), (0, 2), (1, 3), (2, 4), (2, 5)}


@torch.inference_mode()
def test_further_images_and_video_frames_are_views_of_their_product(model: CommerceMM, data: ProductData) -> None:
    frames = [f"p1#frame-{index}" for index in range(VIDEO_VIEWS)]
    assert data.view_ids == ["p0#image-1", "p0#image-2", *frames, "i0"]
    assert data.view_split == ["train"] * 6 + ["test"]
    assert data.view_pairs.product.tolist() == [0, 0, 1, 1, 1, 1, 3]
    # frames 0, 2, 4 and 6 of eight
    shades = [Image.new("RGB", (32, 32), (20 * frame,) * 3) for frame in (0, 2, 4, 6)]
    raw = preprocess().batch(shades, [None] * 4)
    assert close(model.embed(data.view_queries(torch.arange(2, 6))), model.embed(raw), within=HALF)


def test_the_words_of_a_document_have_its_attributes(data: ProductData) -> None:
    assert data.documents[1] == "green sofa It has four legs green 1"


def test_titles_in_other_languages(data: ProductData) -> None:
    assert data.translations == {"de": {2: "Sofa 2"}, "fr": {1: "canapé 1", 2: "canapé 2"}}


def test_features_are_computed_once(snapshot: Path, table: Path, tmp_path: Path, model: CommerceMM) -> None:
    counted, towers = counting(model)
    first = load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    assert towers.seen == 5 + 7 + 6 + 3  # images, views, pages, queries
    towers.seen = 0
    again = load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    assert towers.seen == 0
    assert torch.equal(again.images.tokens, first.images.tokens)
    assert torch.equal(again.views.tokens, first.views.tokens)
    assert again.texts.tokens is not None and first.texts.tokens is not None
    assert torch.equal(again.texts.tokens, first.texts.tokens)


def test_a_lost_file_is_computed_again_alone(snapshot: Path, table: Path, tmp_path: Path, model: CommerceMM) -> None:
    counted, towers = counting(model)
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    next(tmp_path.glob("query-texts-*")).unlink()
    towers.seen = 0
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    assert towers.seen == 3


def test_another_image_tower_shares_the_texts_alone(snapshot: Path, table: Path, tmp_path: Path, model: CommerceMM) -> None:
    counted, towers = counting(model)
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    changed, other = counting(model)
    next(other.image.parameters()).mul_(2)
    load_product_data(snapshot, table, FeatureCache(tmp_path, changed, preprocess()))
    assert other.seen == 5 + 7  # the images alone: the text tower is the same


def test_other_code_for_videos_computes_what_has_their_frames_again_alone(
    snapshot: Path, table: Path, tmp_path: Path, model: CommerceMM, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, towers = counting(model)
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    towers.seen = 0
    edited = tmp_path / "video.py"
    edited.write_bytes(code_files("catalogue.media")["catalogue.video"].read_bytes() + b"# another line")
    monkeypatch.setattr("models.caches.code_files", lambda module: code_files(module) | {"catalogue.video": edited})
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    assert towers.seen == 6  # two further images, four frames
    monkeypatch.undo()
    towers.seen = 0
    load_product_data(snapshot, table, FeatureCache(tmp_path, counted, preprocess()))
    assert towers.seen == 0


def test_other_code_for_videos_computes_their_tokens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale, film = tiny_model(architecture="scale"), strip(8)
    FeatureCache(tmp_path, scale, preprocess()).videos("content", iter([film]), 1)
    monkeypatch.setattr("models.features.decoder_digest", lambda: "other")
    asked = iter([film])
    FeatureCache(tmp_path, scale, preprocess()).videos("content", asked, 1)
    assert next(asked, None) is None


def test_a_video_file_gives_tokens_and_views_like_a_strip(tmp_path: Path) -> None:
    scale = tiny_model(architecture="scale")
    snapshot = make_snapshot(tmp_path / "made", [], film=video_file(greys(range(0, 160, 20), 32, 32), crf="5"))
    found = load_product_data(snapshot, make_table(snapshot, tmp_path / "table"), FeatureCache(tmp_path / "cache", scale, preprocess()))
    still = load_product_data(
        make_snapshot(tmp_path / "strip", []), tmp_path / "table", FeatureCache(tmp_path / "cache", scale, preprocess())
    )
    assert found.videos is not None and still.videos is not None and found.view_ids == still.view_ids
    assert torch.equal(found.videos.mask, still.videos.mask)
    assert close(found.videos.tokens[1].float(), still.videos.tokens[1].float(), within=0.1)
    assert close(found.views.tokens[2:].float(), still.views.tokens[2:].float(), within=0.1)


def test_a_product_outside_the_training_table_is_left_out_with_its_views(
    snapshot: Path, tmp_path: Path, model: CommerceMM
) -> None:
    table = make_table(snapshot, tmp_path / "table", left_out=("p1",))
    data = load_product_data(snapshot, table, FeatureCache(tmp_path / "cache", model, preprocess()))
    assert "p1" not in data.product_ids
    assert data.view_pairs.product.tolist() == [0, 0, data.product_ids.index("p3")]
    assert {data.view_split[row] for row, id in enumerate(data.view_ids) if id.startswith("p1#")} <= {
        "val",
        "catalogue",
    }


def test_a_shop_without_queries(tmp_path: Path, model: CommerceMM) -> None:
    snapshot = make_snapshot(tmp_path, [])
    data = load_product_data(
        snapshot, make_table(snapshot, tmp_path / "table"), FeatureCache(tmp_path / "cache", model, preprocess())
    )
    assert len(data.query_texts) == len(data.queries) == len(data.query_pairs) == 0
    assert len(data.view_ids) == 6
    assert not any(math.isnan(value) for value in data.images.tokens.flatten().tolist())


def test_tables_videos_and_sounds_for_an_architecture_that_reads_them(snapshot: Path, table: Path, tmp_path: Path) -> None:
    scale = tiny_model(architecture="scale")
    found = load_product_data(snapshot, table, FeatureCache(tmp_path, scale, preprocess()))
    assert found.tables is not None and found.videos is not None and found.audios is not None
    ids, mask, parts = preprocess().tables([{"colour": "green", "seats": 1}])
    row = found.tables.take(torch.tensor([1]), "table")
    assert torch.equal(row["table_ids"], ids)
    assert torch.equal(row["table_parts"], parts)
    assert close(row["table_tokens"], scale.towers.text_tokens(ids, mask), within=HALF)
    assert not found.tables.mask[4].any()
    assert found.videos.mask.any(dim=1).tolist() == found.audios.mask.any(dim=1).tolist() == [row == 1 for row in range(6)]
    shades = preprocess().frames([Image.new("RGB", (32, 32), (20 * frame,) * 3) for frame in range(8)])
    expected = scale.encode({"video": shades[None], "video_mask": torch.ones(1, 3, dtype=torch.bool)})["video_tokens"][0]
    assert close(found.videos.tokens[1].float(), expected, within=HALF)
    sound = preprocess().sound(*decode_audio((snapshot.parent / "shop" / "tone.wav").read_bytes()))
    assert int(found.audios.mask[1].sum()) == len(sound) < preprocess().specs.audio.tokens
    assert close(found.audios.tokens[1, : len(sound)].float(), sound, within=0.02)


def test_a_shop_without_film_and_sound_has_no_such_tensors(tmp_path: Path) -> None:
    scale = tiny_model(architecture="scale")
    snapshot = make_snapshot(tmp_path, [], without=("p1",))
    found = load_product_data(snapshot, make_table(snapshot, tmp_path / "table"), FeatureCache(tmp_path / "cache", scale, preprocess()))
    assert found.videos is None and found.audios is None
    assert {"video_tokens", "audio_tokens"}.isdisjoint(found.products(torch.arange(3)))
    assert scale.embed(found.products(torch.arange(3))).isfinite().all()
