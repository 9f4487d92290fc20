"""Requests: good ones are read, all others get one clear sentence."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from goodsight.errors import InputError
from serving.request import FIELDS, max_media_bytes, parse
from tests.catalogue.made import greys, video_file


def picture(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "PNG")
    return out.getvalue()


ENCODED, OTHER = (base64.b64encode(picture(colour)).decode() for colour in ("red", "blue"))


def test_any_subset_of_modalities() -> None:
    text = parse({"task": "search", "text": " red sofa ", "k": 3})
    image = parse({"task": "categorize", "image": ENCODED})
    both = parse({"task": "search", "text": "red", "image": picture()})
    assert (text.text, text.image, text.k) == ("red sofa", None, 3)
    assert image.image is not None and image.image.mode == "RGB" and image.text is None and image.k == 10
    assert both.image is not None and both.image.size == (40, 40)
    assert [request.modalities for request in (text, image, both)] == [("text",), ("image",), ("text", "image")]


def sound() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(800, dtype=np.float32), 8000, format="WAV")
    return out.getvalue()


def test_table_video_and_sound() -> None:
    film = io.BytesIO()
    Image.new("RGB", (120, 40), "red").save(film, "PNG")
    table = {"colour": "red", "sizes": [40, 41.5], "old": None, "maker": {"name": "us"}}
    request = parse({"task": "categorize", "attributes": table, "video": base64.b64encode(film.getvalue()).decode(), "audio": sound()})
    assert request.modalities == ("table", "video", "audio")
    assert request.table == {name: value for name, value in table.items() if name != "old"}
    assert request.video is not None and [frame.size for frame in request.video] == [(40, 40)] * 3
    assert request.audio is not None and (len(request.audio[0]), request.audio[1]) == (800, 8000)


def test_a_video_file_is_read_as_its_frames() -> None:
    film = video_file(greys([40, 120, 200]))
    request = parse({"task": "search", "video": base64.b64encode(film).decode()})
    assert request.video is not None and [frame.size for frame in request.video] == [(64, 64)] * 3
    with pytest.raises(InputError, match="the video ends early"):
        parse({"task": "search", "video": base64.b64encode(film[:-20]).decode()})


OF_A_TASK = {
    "filters": ({"price": {"max": 10}}, {"search", "recommend", "similar"}),
    "lexical": (0.5, {"search"}),
    "rerank": (True, {"search"}),
    "liked": (["a"], {"recommend"}),
    "product": ("a", {"similar", "explain"}),
    "text": ("red", {"categorize", "search", "embed", "recommend", "explain"}),
    "image": (ENCODED, {"categorize", "search", "embed", "recommend", "explain"}),
    "k": (3, set(FIELDS)),
    "effort": ("low", set(FIELDS)),
}


@pytest.mark.parametrize("name", OF_A_TASK)
@pytest.mark.parametrize("task", FIELDS)
def test_a_task_takes_its_own_fields_alone(task: str, name: str) -> None:
    value, tasks = OF_A_TASK[name]
    least = {"similar": {"product": "b"}, "explain": {"image": ENCODED, "about": "search"}}.get(task, {"text": "sofa"})
    request = {"task": task, **least, name: value}
    if task in tasks:
        assert parse(request).digest != parse({**request, name: CHANGED[name]}).digest
    else:
        with pytest.raises(InputError, match=f"{name}: Extra inputs are not permitted"):
            parse(request)


CHANGED = {
    "filters": {"price": {"max": 11}},
    "lexical": 0.0,
    "rerank": False,
    "liked": ["a", "b"],
    "product": "c",
    "text": "blue",
    "image": OTHER,
    "k": 4,
    "effort": "medium",
}


def test_liked_products_count_once_and_suffice() -> None:
    request = parse({"task": "recommend", "liked": ["a", "b", "a"], "filters": {"category": ["Seating"]}})
    assert (request.liked, request.modalities, request.products) == (("a", "b"), (), ("a", "b"))
    assert request.filters is not None and request.filters.category == ["Seating"]


def test_no_weight_of_words_is_not_the_usual_weight() -> None:
    without, none = parse({"task": "search", "text": "x"}), parse({"task": "search", "text": "x", "lexical": 0})
    assert (without.lexical, none.lexical) == (None, 0.0) and without.digest != none.digest


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"text": "x"}, "task: Field required"),
        ({"task": "sell", "text": "x"}, "task: Input should be 'categorize', 'search', 'embed', 'recommend', 'similar' or 'explain'"),
        ({"task": ["search"], "text": "x"}, "task: Input should be 'categorize', "),
        ({"task": "search"}, "give a text, an image, attributes"),
        ({"task": "search", "text": "  "}, "give a text, an image, attributes"),
        ({"task": "search", "text": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"task": "search", "text": "x", "k": 101}, "k: Input should be less than or equal to 100"),
        ({"task": "search", "text": "x", "k": "5"}, "k: Input should be a valid integer"),
        ({"task": "search", "text": "x", "q": 1}, "q: Extra inputs are not permitted"),
        ({"task": "search", "text": "x" * 2001}, "text: String should have at most 2000 characters"),
        ({"task": "search", "text": "\ud800"}, "text: "),
        ({"task": "search", "text": 5}, "text: Input should be a valid string"),
        ({"task": "search", "image": "!!"}, "image: the image is not base64"),
        ({"task": "search", "image": 7}, "image: Input should be a valid bytes"),
        ({"task": "search", "image": base64.b64encode(b"GIF89a no").decode()}, "image"),
        ({"task": "search", "image": base64.b64encode(picture()[:60]).decode()}, "image cannot be decoded"),
        ({"task": "search", "attributes": {"old": None, "sizes": []}}, "give a text, an image, attributes"),
        ({"task": "search", "attributes": ["red"]}, "attributes: Input should be a valid dictionary"),
        ({"task": "search", "attributes": {"a": "x" * 20_000}}, "attributes: they have 20,009 characters"),
        ({"task": "search", "video": "!!"}, "video: the video is not base64"),
        ({"task": "search", "video": base64.b64encode(sound()).decode()}, "no image"),
        ({"task": "search", "audio": ENCODED}, "sound cannot be decoded"),
        ({"task": "search", "text": "x", "effort": "highest"}, "effort: Input should be 'low', 'medium' or 'high'"),
        ({"task": "search", "text": "x", "lexical": 1.5}, "lexical: Input should be less than or equal to 1"),
        ({"task": "search", "text": "x", "lexical": float("nan")}, "lexical: Input should be "),
        ({"task": "search", "text": "x", "rerank": 1}, "rerank: Input should be a valid boolean"),
        ({"task": "search", "text": "x", "filters": {"colour": "red"}}, "filters: Extra inputs are not permitted"),
        ({"task": "search", "text": "x", "filters": {"price": {"min": 5, "max": 1}}}, "filters: min is more than max"),
        ({"task": "recommend"}, "or a sound, or liked products"),
        ({"task": "recommend", "liked": [""]}, "liked: String should have at least 1 character"),
        ({"task": "recommend", "liked": ["a"] * 101}, "liked: List should have at most 100 items"),
        ({"task": "recommend", "liked": "a"}, "liked: Input should be a valid list"),
        ({"task": "similar"}, "product: Field required"),
        ({"task": "similar", "product": ""}, "product: String should have at least 1 character"),
        ({"task": "similar", "product": "\ud800"}, "product: "),
    ],
)
def test_a_bad_request_says_what_is_wrong(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(request_)
    assert words in caught.value.message
    assert len(caught.value.message) < 300 and "\n" not in caught.value.message


def test_a_large_image_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InputError, match="bytes; at most"):
        parse({"task": "search", "image": "A" * (max_media_bytes() * 4 // 3 + 8)})


texts = st.text("aA=+ é\ud800\x00", max_size=20) | st.sampled_from([*FIELDS, ENCODED, "low"])
values = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(texts, max_size=2)


NAMES = ["task", "text", "image", "attributes", "video", "audio", "k", "effort", "filters", "lexical", "rerank", "liked", "product", "x"]


@given(st.dictionaries(st.sampled_from(NAMES), values | st.dictionaries(texts, values)))
def test_whatever_comes_it_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = parse(fields)
    except InputError:
        return
    assert request.modalities or request.products
    assert 1 <= request.k <= 100
