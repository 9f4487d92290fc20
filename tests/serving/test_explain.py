"""The task `explain`: a heat-map about the answer that the same content gets, and refusals of what has no picture."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
import torch
from PIL import Image

from goodsight.errors import InputError, NotFoundError
from models.occlusion import CELLS
from serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(made: Any) -> Predictor:
    return Predictor.load(made.candidate, made.index, "7")


@pytest.fixture(scope="module")
def image() -> str:
    noise = torch.randint(0, 256, (48, 64, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    out = io.BytesIO()
    Image.fromarray(noise.numpy(), "RGB").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.mark.parametrize("text", [None, "red sofa"])
@pytest.mark.parametrize("about", ["categorize", "search"])
def test_it_is_about_the_answer_to_the_same_content(predictor: Predictor, image: str, about: str, text: str | None) -> None:
    content = {"image": image, "text": text}
    (best,) = predictor.predict({"task": about, **content, "k": 1, **({"lexical": 0} if about == "search" else {})})["results"]
    answer = predictor.predict({"task": "explain", "about": about, **content})
    (found,) = answer["results"]
    assert (answer["task"], answer["model_version"], found["about"]) == ("explain", "7", about)
    name, score = ("category", "probability") if about == "categorize" else ("id", "score")
    assert found[name] == best[name] and found[score] == pytest.approx(best[score], abs=1e-4)
    assert [len(line) for line in found["grid"]] == [CELLS] * CELLS
    assert len({value for line in found["grid"] for value in line}) > 1


def test_a_product_that_is_named_is_explained(predictor: Predictor, image: str) -> None:
    maps = {}
    for id in ("p3", "p17"):
        (found,) = predictor.predict({"task": "explain", "about": "search", "image": image, "product": id})["results"]
        assert found["id"] == id
        maps[id] = found["grid"]
    assert maps["p3"] != maps["p17"]


def test_it_is_answered_beside_others(predictor: Predictor, image: str) -> None:
    from serving.request import parse

    requests = [{"task": "search", "text": "sofa", "k": 2}, {"task": "explain", "image": image}, {"task": "similar", "product": "p1"}]
    answers = predictor.predict_batch([predictor.answerable(parse(each)) for each in requests])
    assert [answer["task"] for answer in answers] == ["search", "explain", "similar"]
    alone = predictor.predict(requests[1])["results"][0]
    assert answers[1]["results"][0]["category"] == alone["category"]
    assert len(answers[0]["results"]) == 2 and "grid" in answers[1]["results"][0]


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"text": "red sofa"}, "image: give the picture"),
        ({"about": "taste"}, "about: Input should be 'categorize' or 'search'"),
        ({"product": "p1"}, "product: it belongs to an explanation about a search"),
        ({"filters": {}}, "filters: Extra inputs"),
    ],
)
def test_what_cannot_be_explained_is_refused(predictor: Predictor, image: str, request_fields: dict[str, Any], words: str) -> None:
    picture = {} if "text" in request_fields else {"image": image}
    with pytest.raises(InputError, match=words):
        predictor.predict({"task": "explain", **picture, **request_fields})


def test_an_unknown_product_is_not_found(predictor: Predictor, image: str) -> None:
    with pytest.raises(NotFoundError, match="p999"):
        predictor.predict({"task": "explain", "about": "search", "image": image, "product": "p999"})
