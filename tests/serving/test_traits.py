"""Traits: figures of a request that say what they are called, cost an answer nothing, and do not tell what was asked."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lineage.traffic import SKETCH, TRAITS
from serving import traits
from serving.request import Request
from serving.traits import Traits, chances, figures, of_image, of_text, sketch
from serving.words import Words, write_words


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    folder = tmp_path_factory.mktemp("words")
    write_words(["red sofa", "blue chair"], folder)
    return Words.open(folder)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    dice = np.random.default_rng(1)
    return Image.fromarray(dice.integers(60, 200, (300, 400, 3), np.uint8))


def test_text(words: Words) -> None:
    found = of_text("red velvet sofa", words)
    assert (found["text_chars"], found["text_words"], found["oov"]) == (15, 3, 0.3333)
    assert "oov" not in of_text("!?", words) and of_text("!?", words)["text_words"] == 0


def test_language() -> None:
    assert traits.language_of("a cosy reading corner with a lamp and a chair") == "en"
    assert traits.language_of("ein bequemes Sofa mit Schlaffunktion") == "de"
    assert traits.language_of("lamp") == "und"


def test_image(photo: Image.Image) -> None:
    found = of_image(photo)
    assert (found["width"], found["height"]) == (400, 300) and found["brightness"] == pytest.approx(0.51, abs=0.02)
    darker, softer = photo.point(lambda value: value // 2), photo.filter(ImageFilter.GaussianBlur(3))
    assert of_image(darker)["brightness"] == pytest.approx(found["brightness"] / 2, abs=0.01)
    assert of_image(softer)["sharpness"] < found["sharpness"] / 3
    assert of_image(photo.convert("L").convert("RGB"))["saturation"] == 0 < found["saturation"]
    white = of_image(Image.new("RGB", (300, 300), "white"))
    assert (white["brightness"], white["contrast"], white["sharpness"]) == (1.0, 0.0, 0.0)
    for size in ((1, 1), (1, 500), (2_000, 3)):
        assert of_image(Image.new("RGB", size, "red"))["saturation"] == pytest.approx(1.0)


def test_a_sketch_keeps_distances_and_is_the_same_everywhere() -> None:
    dice = np.random.default_rng(2)
    vectors = dice.normal(size=(200, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sketches = np.array([sketch(vector) for vector in vectors])
    assert sketches.shape == (200, SKETCH)
    true, seen = (np.linalg.norm(each[:100] - each[100:], axis=1) for each in (vectors, sketches))
    assert 0.9 < np.mean(seen / true) < 1.1
    assert sketch(np.eye(256, dtype=np.float32)[0])[:3] == [0.1607, 0.1328, -0.0045], "references keep their meaning"
    assert np.linalg.norm(chances(np.array([1.0, 2.0, -50.0]))) == pytest.approx(1.0)


def test_all_that_applies_and_nothing_else(words: Words, photo: Image.Image) -> None:
    answer = {"results": [{"category": "Sofa", "probability": 0.9}]}
    found = figures(Request("categorize", 1, text="red sofa", image=photo, table={"colour": "red"}), answer, np.ones(8, np.float32), words)
    assert found.keys() == TRAITS.keys() and found["fields"] == 1 and found["category"] == "Sofa"
    assert figures(Request("similar", 1, product="p1"), {"results": [{"id": "p2", "category": None}]}, None, words) == {}


def test_a_busy_server_computes_traits_of_a_sample_and_few_wait(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(traits.time, "monotonic", lambda: clock[0])
    chosen = Traits(words)
    request, answer = Request("search", 1, text="red sofa"), {"results": []}
    held = [later for later in (chosen.of(request, answer, None) for _ in range(100)) if later]
    assert len(held) == traits.WAITING
    held.clear()
    rest = sum(chosen.of(request, answer, None) is not None for _ in range(100))
    assert rest == traits.PER_SECOND - traits.WAITING
    clock[0] += 0.5
    assert sum(chosen.of(request, answer, None) is not None for _ in range(100)) == traits.PER_SECOND / 2


def test_the_log_has_traits_of_what_was_asked_and_not_what_was_asked(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    from ts.context import Context, RequestProcessor

    from goodsight.files import write_json
    from goodsight.settings import settings
    from lineage.traffic import read
    from serving.goodsight_handler import GoodsightHandler

    url = f"sqlite:///{tmp_path / 'log.db'}"
    monkeypatch.setenv("GOODSIGHT_PREDICTIONS_URI", url)
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "candidate").symlink_to(made.candidate)
    (tmp_path / "archive" / "index").symlink_to(made.index)
    write_json(tmp_path / "archive" / "version.json", {"version": "7"})
    handler = GoodsightHandler()
    handler.initialize(Context("goodsight", str(tmp_path / "archive"), {}, 8, -1, "0.12.0"))
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (128, 128, 128)).save(picture, "PNG")
    image = base64.b64encode(picture.getvalue()).decode()
    asked = [{"task": "search", "text": "unforgettable red sofa"}, {"k": 3}, {"task": "categorize", "image": image}]
    asked += [{"task": "similar", "product": "p3"}]
    context = Context("goodsight", ".", {}, 8, -1, "0.12.0")
    context.request_processor = [RequestProcessor({"Content-Type": "application/json"}) for _ in asked]
    answers = [json.loads(text) for text in handler.handle([{"body": json.dumps(each).encode()} for each in asked], context)]
    assert handler.log.flush()
    now = datetime.now(UTC)
    rows = {row["id"]: row for row in read(url, now - timedelta(hours=1), now + timedelta(hours=1)).to_pylist()}
    search, refused, categorize, similar = (rows[answer["id"]] for answer in answers)
    assert (search["text_chars"], search["text_words"], search["oov"], search["width"]) == (22, 3, pytest.approx(1 / 3, abs=1e-3), None)
    assert len(search["sketch"]) == len(categorize["sketch"]) == SKETCH and search["category"] == answers[0]["results"][0]["category"]
    assert (categorize["width"], categorize["height"], categorize["text_chars"]) == (64, 48, None)
    assert categorize["brightness"] == pytest.approx(0.5, abs=0.01) and categorize["category"] == answers[2]["results"][0]["category"]
    assert refused["status"] == "refused" and refused["text_chars"] is None and similar["sketch"] is None
    assert all(b"unforgettable" not in file.read_bytes() for file in tmp_path.glob("log.db*"))
