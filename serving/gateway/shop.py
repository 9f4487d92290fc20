"""The shop window: the page at `/`, what it is made of, and the routes that only a page needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from goodsight.digests import sha256_bytes
from goodsight.errors import InputError
from serving.gateway import bodies
from serving.gateway.asking import answer
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.routes import caller, told
from serving.gateway.schemas import Explained, Facets
from serving.request import Explain

PAGES = Path(__file__).with_name("pages")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PARTS = ("shop.css", "shop.js", "mark.svg")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PASSPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ALONE = {"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"}
PICTURE_SECONDS = 300  # that a browser keeps a thumbnail
LOOKING = 4  # callers who may wait for a heat-map: one keeps the model for a second

T = TypeVar("T")
AnswerId = Annotated[str, InPath(min_length=1, max_length=64, description="The id of an answer.")]
ProductId = Annotated[str, InPath(min_length=1, max_length=512, description="The id of a product.")]


def router(gateway: Gateway) -> APIRouter:
    """The routes, for what `gateway` serves."""
    routes = APIRouter()
    _add_page(routes)
    _add_facets(routes, gateway)
    _add_thumbnails(routes, gateway)
    _add_explanations(routes, gateway)
    _add_passports(routes, gateway)
    return routes


def _add_page(routes: APIRouter) -> None:
    """The page and its parts hold nothing of the catalogue, so they need no key."""
    for path, name in {"/": "shop.html", **{f"/pages/{part}": part for part in PARTS}}.items():
        routes.add_api_route(path, static(PAGES / name), methods=["GET", "HEAD"], include_in_schema=False)


def static(file: Path) -> Callable[[Request], Response]:
    content, kind = file.read_bytes(), KINDS[file.suffix]
    headers = {"ETag": f'"{sha256_bytes(content)[:32]}"', "Cache-Control": "no-cache", "Content-Security-Policy": POLICY, **ALONE}

    def static(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return static


async def _found(find: Callable[..., T], *of: Any) -> T:
    """What `find` finds, in a thread. Raises `Problem` 404 for nothing."""
    try:
        return await run_in_threadpool(find, *of)
    except InputError as error:
        raise Problem(404, error.message) from error


def _add_facets(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get(
        "/v1/facets", operation_id="facets", summary="Tell what products can be filtered by", response_model=None,
        response_class=JSONResponse, responses={200: {"model": Facets}},
    )  # fmt: skip
    async def facets(request: Request) -> Response:
        """Categories, the range of prices, and attributes, each value with the number of its products."""
        await gateway.admit(request, "predict")
        return JSONResponse(await _found(gateway.display.facets))


def _add_thumbnails(routes: APIRouter, gateway: Gateway) -> None:
    picture = {"image/webp": {"schema": {"type": "string", "format": "binary"}}}

    @routes.get(
        "/v1/products/{id:path}/thumbnail", operation_id="thumbnail", summary="Show a product", response_model=None,
        response_class=Response, responses={200: {"content": picture, "description": "A WebP of at most 256 pixels a side."}},
    )  # fmt: skip
    async def thumbnail(request: Request, id: ProductId) -> Response:
        """A small picture of a product."""
        await gateway.admit(request, "predict")
        image = await _found(gateway.display.thumbnail, id)
        return Response(image, headers={"Cache-Control": f"private, max-age={PICTURE_SECONDS}"}, media_type="image/webp")


def _add_explanations(routes: APIRouter, gateway: Gateway) -> None:
    one, waiting = asyncio.Semaphore(1), 0

    @routes.post(
        "/v1/explain", operation_id="explain", summary="Show what the model looked at", description=Explain.__doc__,
        response_model=None, response_class=JSONResponse, responses={200: {"model": Explained}},
    )  # fmt: skip
    async def explain(request: Request) -> Response:
        nonlocal waiting
        await gateway.admit(request, "predict")
        asked = await bodies.in_time(request, bodies.read(request, "explain"))
        fields = asked.requests[0]
        if asked.batch or isinstance(fields, Problem):
            raise Problem(400, "Bad request: explanations are asked for one at a time.")
        if waiting >= LOOKING:
            raise Problem(429, f"{waiting} wait for an explanation already. Try again later.", waiting)
        waiting += 1
        try:
            async with one:
                return told(await answer(gateway.upstream, {"task": "explain", **fields}, caller(request)), request)
        finally:
            waiting -= 1


def _add_passports(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get(
        "/v1/predictions/{id}/page", operation_id="passport_page", summary="Show what stands behind an answer", response_model=None,
        response_class=Response, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "A page."}},
    )  # fmt: skip
    async def page(request: Request, id: AnswerId) -> Response:
        """The passport of an answer as a page that loads nothing: its graph, and below it every link."""
        from lineage import drawing

        await gateway.admit(request, "audit")
        made = await _found(gateway.passport, id)
        html = await run_in_threadpool(drawing.page, made)
        return Response(html, headers={"Content-Security-Policy": PASSPORT_POLICY, **ALONE}, media_type="text/html")
