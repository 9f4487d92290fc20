"""The status page: how retraining stands, at `/status`, read-only, for those whose key has the scope `audit`.

The page holds nothing, so it needs no key; what it shows comes from `/v1/status`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from goodsight.errors import GoodsightError
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.shop import PAGES, static

PARTS = ("status.css", "status.js")


def router(gateway: Gateway) -> APIRouter:
    """The routes, for what `gateway` can see."""
    routes = APIRouter()
    for path, name in {"/status": "status.html", **{f"/pages/{part}": part for part in PARTS}}.items():
        routes.add_api_route(path, static(PAGES / name), methods=["GET", "HEAD"], include_in_schema=False)
    _add_status(routes, gateway)
    return routes


def _add_status(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get(
        "/v1/status", operation_id="status", summary="Tell how retraining stands", response_model=None,
        response_class=JSONResponse, responses={200: {"model": dict[str, Any]}},
    )  # fmt: skip
    async def status(request: Request) -> Response:
        """Runs with their steps, the champion, decisions and why, drift over time, verdicts, data quality, feedback, costs."""
        await gateway.admit(request, "audit")
        try:
            return JSONResponse(await run_in_threadpool(gateway.status))
        except GoodsightError as error:
            raise Problem(503, f"How it stands cannot be read now: {error.message}", 5) from error
