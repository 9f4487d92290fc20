"""The routes behind the page: facets, thumbnails, heat-maps and passports, and a page that may load nothing of others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from goodsight.digests import sha256_file
from goodsight.errors import IntegrityError
from goodsight.files import read_json, write_json
from models.occlusion import CELLS
from serving.display import Display
from tests.serving.gateway.standing import problem
from tests.serving.gateway.window import COLOURS, Window, logged, picture

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(window: Window) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=window.url, timeout=30) as client:
        yield client


async def test_the_page_and_its_parts_are_whole_and_may_load_nothing_of_others(client: httpx.AsyncClient) -> None:
    kinds = {"/": "text/html", "/pages/shop.css": "text/css", "/pages/shop.js": "text/javascript", "/pages/mark.svg": "image/svg+xml"}
    for path, kind in kinds.items():
        got = await client.get(path)
        assert got.status_code == 200 and got.headers["content-type"].startswith(kind) and got.text.strip()
        policy = got.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy and "http" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        again = await client.get(path, headers={"If-None-Match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.head(path)).status_code == 200
    problem(await client.get("/pages/../gateway.py"), 404)
    problem(await client.get("/pages/shop.html"), 404)


async def test_facets_are_those_of_the_index(client: httpx.AsyncClient, window: Window) -> None:
    told = (await client.get("/v1/facets")).json()
    assert told == window.facets
    assert told["price"] == {"min": 19.5, "max": 199.5}
    assert {each["value"]: each["count"] for each in told["attributes"]["colour"]} == dict.fromkeys(COLOURS, 5)


async def test_a_product_of_an_answer_has_its_own_thumbnail(client: httpx.AsyncClient) -> None:
    found = (await client.post("/v1/search", json={"text": "sofa", "filters": {"attributes": {"colour": ["blue"]}}})).json()["results"]
    assert len(found) == 5
    for each in found:
        got = await client.get(f"/v1/products/{quote(each['id'], safe='')}/thumbnail")
        assert got.status_code == 200 and got.headers["content-type"] == "image/webp" and "max-age" in got.headers["cache-control"]
        image = Image.open(io.BytesIO(got.content)).convert("RGB")
        pixel: Any = image.getpixel((60, 45))
        assert image.size == (120, 90) and pixel[2] > 200 > pixel[0]
    problem(await client.get("/v1/products/shop%2Fp1%20%C3%A4/thumbnail"), 404)
    problem(await client.get("/v1/products/nobody/thumbnail"), 404)


async def test_similar_products_can_be_filtered(client: httpx.AsyncClient) -> None:
    path = "/v1/products/shop%2Fp2%20%C3%A4/similar"
    found = (await client.get(path, params={"k": 20, "filters": '{"attributes": {"colour": ["blue"]}}'})).json()["results"]
    assert {each["id"] for each in found} == {f"shop/p{row} ä" for row in range(5, 10)}
    for wrong in ("{", "[]", '{"colour": ["blue"]}', '{"price": {"min": -1}}'):
        assert problem(await client.get(path, params={"filters": wrong}), 400)["detail"].startswith("Bad request: filters: ")


async def test_a_picture_is_explained(client: httpx.AsyncClient) -> None:
    best = (await client.post("/v1/categorize", content=picture("red", "PNG"), headers={"Content-Type": "image/png"})).json()["results"][0]
    told = (await client.post("/v1/explain", content=picture("red", "PNG"), headers={"Content-Type": "image/png"})).json()
    (found,) = told["results"]
    assert (told["task"], found["category"]) == ("explain", best["category"])
    assert found["probability"] == pytest.approx(best["probability"], abs=1e-4)
    assert [len(line) for line in found["grid"]] == [CELLS] * CELLS
    problem(await client.post("/v1/explain", json={"text": "red sofa"}), 400)
    problem(await client.post("/v1/explain", json={"requests": [{"text": "red sofa"}]}), 400)
    problem(await client.post("/v1/explain", json={"image": "AAAA", "k": 0}), 400)


async def test_a_passport_is_a_page_that_loads_nothing(client: httpx.AsyncClient) -> None:
    id = (await client.post("/v1/search", json={"text": "sofa"})).json()["id"]
    await asyncio.to_thread(logged, str(client.base_url), id)
    got = await client.get(f"/v1/predictions/{id}/page")
    assert got.headers["content-type"].startswith("text/html") and "default-src 'none'" in got.headers["content-security-policy"]
    assert id in got.text and "<svg" in got.text and "<script" not in got.text
    problem(await client.get("/v1/predictions/nothing/page"), 404)


async def test_the_document_tells_of_them(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    operations = {each["operationId"]: each for methods in paths.values() for each in methods.values()}
    assert {"facets", "thumbnail", "explain", "passport_page"} <= operations.keys()
    assert "/" not in paths and "batch" not in str(operations["explain"]["requestBody"])
    assert all("404" in operations[name]["responses"] for name in ("thumbnail", "explain", "facets"))


def test_altered_thumbnails_are_not_shown(window: Window, tmp_path: Path) -> None:
    for name in ("index.json", "facets.json"):
        (tmp_path / name).write_bytes((window.index / name).read_bytes())
    whole = (window.index / "thumbnails.arrow").read_bytes()
    (tmp_path / "thumbnails.arrow").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(IntegrityError, match=r"thumbnails\.arrow was altered"):
        Display(lambda: tmp_path).thumbnail("shop/p2 ä")


def test_a_new_index_in_the_same_place_is_seen(window: Window, tmp_path: Path) -> None:
    for name in ("index.json", "facets.json", "thumbnails.arrow"):
        (tmp_path / name).write_bytes((window.index / name).read_bytes())
    display = Display(lambda: tmp_path)
    assert display.facets() == window.facets
    write_json(tmp_path / "facets.json", {"category": [], "price": None, "attributes": {}})
    record = read_json(tmp_path / "index.json")
    files = {**record["files"], "facets.json": sha256_file(tmp_path / "facets.json")}
    write_json(tmp_path / "index.json", {**record, "files": files, "digest": "d" * 64})
    assert display.facets()["category"] == []
