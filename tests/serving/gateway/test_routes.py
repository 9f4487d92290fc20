"""What product teams send and get: JSON, forms, images and batches, answered by a real model."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from serving.gateway.schemas import ANSWERS
from tests.serving.gateway.standing import problem

pytestmark = pytest.mark.anyio


async def test_a_text_is_searched_and_categorized(gateway: httpx.AsyncClient) -> None:
    found = await gateway.post("/v1/search", json={"text": "red sofa", "k": 3})
    named = await gateway.post("/v1/categorize", json={"text": "red sofa", "k": 2})
    products, categories = ANSWERS["search"].model_validate(found.json()), ANSWERS["categorize"].model_validate(named.json())
    assert (products.task, products.model_version, products.modalities) == ("search", "7", ["text"])
    assert [each["title"] for each in found.json()["results"]][0] == "red sofa" and len(found.json()["results"]) == 3
    assert len(named.json()["results"]) == 2 and categories.id != products.id
    assert found.headers["content-type"] == "application/json"


async def test_a_text_has_a_vector_and_a_topic_its_products(gateway: httpx.AsyncClient) -> None:
    vector = await gateway.post("/v1/embed", json={"text": "red sofa"})
    [result] = ANSWERS["embed"].model_validate(vector.json()).model_dump()["results"]
    assert sum(each * each for each in result["vector"]) == pytest.approx(1, abs=1e-3)
    liked = ["p0", "p1"]
    as_json = await gateway.post("/v1/recommend", json={"text": "sofa", "liked": liked, "k": 5})
    as_form = await gateway.post("/v1/recommend", data={"text": "sofa", "liked": liked, "k": 5}, files={"audio": b""})
    shown = [each["id"] for each in ANSWERS["recommend"].model_validate(as_json.json()).model_dump()["results"]]
    assert as_json.json()["results"] == as_form.json()["results"] and len(shown) == 5 and not {*shown} & {*liked}
    assert (await gateway.post("/v1/recommend", json={"liked": liked})).status_code == 200
    assert problem(await gateway.post("/v1/recommend", json={"liked": ["nobody's"]}), 404)["id"]


async def test_similar_products(gateway: httpx.AsyncClient) -> None:
    found = await gateway.get("/v1/products/p0/similar", params={"k": 4, "effort": "high"})
    shown = [each["id"] for each in found.json()["results"]]
    assert found.status_code == 200 and found.json()["task"] == "similar" and len(shown) == 4 and "p0" not in shown
    for unknown in ("nobody's", "a%2Fb"):
        assert problem(await gateway.get(f"/v1/products/{unknown}/similar"), 404)


async def test_filters_hold_in_both_forms(gateway: httpx.AsyncClient) -> None:
    wanted = {"price": {"min": 15, "max": 20.5}}
    as_json = await gateway.post("/v1/search", json={"text": "sofa", "filters": wanted, "k": 50})
    as_form = await gateway.post("/v1/search", data={"text": "sofa", "filters": json.dumps(wanted), "k": 50}, files={"audio": b""})
    prices = [each["price"] for each in as_json.json()["results"]]
    assert sorted(prices) == [15, 16, 17, 18, 19, 20] and as_form.json()["results"] == as_json.json()["results"]


async def test_a_form_says_what_json_says(gateway: httpx.AsyncClient, picture: Callable[[int], bytes]) -> None:
    image = picture(40)
    as_json = await gateway.post("/v1/search", json={"text": "red", "k": 4, "image": base64.b64encode(image).decode()})
    as_form = await gateway.post("/v1/search", data={"text": "red", "k": "4"}, files={"image": ("a.png", image, "image/png")})
    assert as_form.status_code == 200 and as_form.json()["results"] == as_json.json()["results"]
    assert as_form.json()["modalities"] == ["text", "image"]


@pytest.mark.parametrize("side", [40, 900])
async def test_an_image_alone_is_the_body(gateway: httpx.AsyncClient, picture: Callable[[int], bytes], side: int) -> None:
    image = picture(side)
    alone = await gateway.post("/v1/categorize", content=image, headers={"Content-Type": "image/png"})
    as_json = await gateway.post("/v1/categorize", json={"image": base64.b64encode(image).decode()})
    assert alone.status_code == 200 and alone.json()["results"] == as_json.json()["results"]


async def test_what_is_large_goes_the_same_way(gateway: httpx.AsyncClient, model: Any) -> None:
    noise = bytes(range(256)) * 4_000
    await gateway.post("/v1/search", data={"text": "red"}, files={"image": noise})
    assert base64.b64decode(json.loads(model.bodies[-1])["image"]) == noise


async def test_a_batch_is_answered_one_by_one(gateway: httpx.AsyncClient) -> None:
    asked = [{"text": "red sofa", "k": 1}, {"text": "red sofa", "k": 0}, {"image": "AAAA"}, {"text": "blue lamp", "k": 1}]
    told = await gateway.post("/v1/search", json={"requests": asked}, headers={"X-Request-ID": "mine"})
    first, second, third, fourth = told.json()["responses"]
    assert told.status_code == 200
    assert (first["results"][0]["title"], fourth["results"][0]["title"]) == ("red sofa", "blue lamp")
    assert second["status"] == 400 and "k: " in second["detail"] and second["request_id"] == "mine"
    assert third["status"] == 400 and third["id"], "the model server refused it, under an id"


@pytest.mark.parametrize(
    "batch", [[], [{"text": "a"}] * 33, [1], {"text": "a"}, None], ids=["empty", "too long", "numbers", "object", "null"]
)
async def test_a_batch_that_is_none_is_refused(gateway: httpx.AsyncClient, batch: Any) -> None:
    problem(await gateway.post("/v1/search", json={"requests": batch}), 400)
    problem(await gateway.post("/v1/search", json={"requests": [{"text": "a"}], "k": 3}), 400)


@pytest.mark.parametrize(
    "task, fields",
    [
        ("search", {}),
        ("search", {"text": "  "}),
        ("search", {"text": "sofa", "task": "categorize"}),
        ("search", {"text": "sofa", "k": 101}),
        ("search", {"text": "sofa", "k": "3"}),
        ("search", {"text": "x" * 2001}),
        ("search", {"text": "sofa", "effort": "most"}),
        ("search", {"text": "sofa", "liked": ["p1"]}),
        ("search", {"text": "sofa", "filters": {"colour": "red"}}),
        ("search", {"image": "not base64!"}),
        ("search", {"image": "aGVsbG8="}),
        ("categorize", {"text": "sofa", "filters": {}}),
        ("embed", {"text": "sofa", "rerank": True}),
        ("recommend", {"text": "sofa", "lexical": 0.5}),
    ],
)
async def test_a_wrong_request_is_refused(gateway: httpx.AsyncClient, task: str, fields: dict[str, Any]) -> None:
    assert problem(await gateway.post(f"/v1/{task}", json=fields), 400)["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"3", b"[" * 10_000, b'{"text": "\\ud800"}', b'{"text": NaN}', b"\xff\xfe"])
async def test_what_is_not_json_is_refused(gateway: httpx.AsyncClient, body: bytes) -> None:
    problem(await gateway.post("/v1/search", content=body, headers={"Content-Type": "application/json"}), 400)


async def test_a_refusal_never_repeats_what_was_sent(gateway: httpx.AsyncClient) -> None:
    secret = "unforgettable"
    responses = [
        await gateway.post("/v1/search", json={"text": [secret], "k": secret}),
        await gateway.post("/v1/search", data={"text": "a", "k": secret}, files={"audio": b""}),
        await gateway.post("/v1/search", data={"text": "a", "filters": secret}, files={"audio": b""}),
        await gateway.post("/v1/search", content=secret, headers={"Content-Type": "application/json"}),
        await gateway.get("/v1/products/p1/similar", params={"k": secret, "effort": secret}),
        await gateway.get(f"/v1/predictions/{secret}"),
    ]
    assert [each.status_code for each in responses] == [400, 400, 400, 400, 400, 404]
    assert all(secret not in each.text for each in responses)


async def test_another_content_type_is_refused(gateway: httpx.AsyncClient) -> None:
    for headers in ({"Content-Type": "text/plain"}, {}):
        assert "application/json" in problem(await gateway.post("/v1/search", content=b'{"text": "a"}', headers=headers), 415)["detail"]


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"text": ["a", "b"]}},
        {"data": {"image": "AAAA"}},
        {"data": {"text": "a", "filters": "{"}, "files": {}},
        {"files": {"picture": b"a"}},
        {"files": [("image", b"a"), ("image", b"b")]},
        {"files": {"image": b""}},
    ],
    ids=["twice", "text as image", "no json", "unknown file", "two images", "empty file"],
)
async def test_a_wrong_form_is_refused(gateway: httpx.AsyncClient, form: dict[str, Any]) -> None:
    files = form.get("files") or {"audio": b""}
    problem(await gateway.post("/v1/search", data=form.get("data"), files=files), 400)


@pytest.mark.parametrize("options", ["", "; boundary=x", "; boundary=x; charset=nope"])
async def test_a_form_that_is_none_is_refused(gateway: httpx.AsyncClient, options: str) -> None:
    body = b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"
    problem(await gateway.post("/v1/search", content=body, headers={"Content-Type": f"multipart/form-data{options}"}), 400)


async def test_a_large_body_is_refused_before_it_is_read(gateway: httpx.AsyncClient, model: Any) -> None:
    before = len(model.bodies)
    large = {"Content-Type": "application/json", "Content-Length": str(17 * 2**20)}
    problem(await gateway.post("/v1/search", content=b"{}", headers=large), 413)

    async def endless() -> Any:
        for _ in range(17):
            yield b" " * 2**20

    problem(await gateway.post("/v1/search", content=endless(), headers={"Content-Type": "application/json"}), 413)
    problem(await gateway.post("/v1/search", content=bytes(13 * 2**20), headers={"Content-Type": "image/png"}), 413)
    assert len(model.bodies) == before


async def test_paths_and_methods_that_are_not_there(gateway: httpx.AsyncClient) -> None:
    problem(await gateway.get("/v1/nothing"), 404)
    assert "POST" in (await gateway.get("/v1/search")).headers["allow"]
    problem(await gateway.get("/v1/search"), 405)
    assert (await gateway.get("/docs")).status_code == 404


async def test_a_request_has_the_id_that_its_caller_gave_it(gateway: httpx.AsyncClient) -> None:
    named = await gateway.get("/health/live", headers={"X-Request-ID": "order-7"})
    bad = await gateway.get("/health/live", headers={"X-Request-ID": "a b\tc"})
    assert named.headers["x-request-id"] == "order-7" and len(bad.headers["x-request-id"]) == 36


async def test_a_page_of_another_site_does_not_reach_an_open_server(gateway: httpx.AsyncClient) -> None:
    for name in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
        assert (await gateway.get("/health/live", headers={"Host": name})).status_code == 200
    for name in ("evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", ""):
        problem(await gateway.get("/health/live", headers={"Host": name}), 421)
    problem(await gateway.post("/v1/search", json={"text": "a"}, headers={"Origin": "https://evil.example"}), 403)
    assert (await gateway.post("/v1/search", json={"text": "a"}, headers={"Origin": "http://localhost"})).status_code == 200
