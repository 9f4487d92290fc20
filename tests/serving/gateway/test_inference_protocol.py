"""The Open Inference Protocol, as its clients speak it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.serving.gateway.standing import problem

pytestmark = pytest.mark.anyio
MODEL = "/v2/models/goodsight"


def texts(*data: str, **parameters: Any) -> dict[str, Any]:
    inputs = [{"name": "text", "shape": [len(data)], "datatype": "BYTES", "data": [*data]}]
    return {"id": "mine", "parameters": parameters, "inputs": inputs}


async def test_who_is_there(gateway: httpx.AsyncClient) -> None:
    assert (await gateway.get("/v2")).json()["name"] == "goodsight"
    assert (await gateway.get("/v2/health/live")).json() == {"live": True}
    assert (await gateway.get("/v2/health/ready")).json() == {"ready": True}
    for path in (MODEL, f"{MODEL}/versions/1"):
        told = (await gateway.get(path)).json()
        assert told["versions"] == ["1"] and {each["name"] for each in told["inputs"]} == {"text", "image"}
        assert (await gateway.get(f"{path}/ready")).json() == {"name": "goodsight", "ready": True}
    for path in (f"{MODEL}/versions/2", f"{MODEL}/versions/2/ready"):
        assert problem(await gateway.get(path), 404)["error"]


async def test_rows_are_categorized_as_under_v1(gateway: httpx.AsyncClient) -> None:
    told = (await gateway.post(f"{MODEL}/infer", json=texts("red sofa", "blue lamp", task="categorize", k=2))).json()
    [output] = told["outputs"]
    assert (told["id"], told["model_name"], told["model_version"]) == ("mine", "goodsight", "7")
    assert (output["name"], output["datatype"], output["shape"]) == ("results", "BYTES", [2])
    alone = await gateway.post("/v1/categorize", json={"text": "blue lamp", "k": 2})
    assert [(each["category"], pytest.approx(each["probability"], abs=1e-5)) for each in json.loads(output["data"][1])] == [
        (each["category"], each["probability"]) for each in alone.json()["results"]
    ]
    assert len(set(told["parameters"]["ids"])) == 2


async def test_texts_with_images_become_vectors(gateway: httpx.AsyncClient, picture: Callable[[int], bytes]) -> None:
    asked = texts("red sofa", "", task="embed")
    image = base64.b64encode(picture(40)).decode()
    asked["inputs"].append({"name": "image", "shape": [2, 1], "datatype": "BYTES", "data": [image, image]})
    [output] = (await gateway.post(f"{MODEL}/versions/1/infer", json=asked)).json()["outputs"]
    rows, width = output["shape"]
    assert (output["datatype"], rows, len(output["data"])) == ("FP32", 2, 2 * width)
    alone = await gateway.post("/v1/embed", json={"image": image})
    assert output["data"][width:] == pytest.approx(alone.json()["results"][0]["vector"], abs=1e-4)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"inputs": []},
        texts("a", task="similar"),
        texts("a", k=0),
        texts(*["a"] * 33),
        texts("a", ""),
        {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a"]}]},
        {"inputs": [{"name": "sound", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
        {"inputs": [{"name": "text", "shape": [1], "datatype": "FP32", "data": [1.0]}]},
    ],
)
async def test_what_is_wrong_is_said_in_the_protocols_own_word(gateway: httpx.AsyncClient, asked: dict[str, Any]) -> None:
    told = problem(await gateway.post(f"{MODEL}/infer", json=asked), 400)
    assert told["error"] == told["detail"]


async def test_an_unknown_version_is_not_asked(gateway: httpx.AsyncClient) -> None:
    problem(await gateway.post(f"{MODEL}/versions/2/infer", json=texts("a")), 404)
