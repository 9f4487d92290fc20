"""Is the process alive, and is the model ready? For supervisors and load balancers, which have no key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serving.gateway.gateway import Gateway
from serving.gateway.metrics import MEDIA_TYPE
from serving.gateway.problems import Problem


def router(gateway: Gateway) -> APIRouter:
    """The routes; a probe leaves nothing in the prediction log."""
    routes = APIRouter(prefix="/health", tags=["health"])

    @routes.get("/live", operation_id="live", summary="Does the process answer?", response_model=None, response_class=JSONResponse)
    async def live() -> Response:
        return JSONResponse({"status": "live"})

    @routes.get("/ready", operation_id="ready", summary="Would a request be answered?", response_model=None, response_class=JSONResponse)
    async def ready() -> Response:
        if gateway.stopping:
            raise Problem(503, "The server is stopping.", 5)
        if not await gateway.ready():
            raise Problem(503, "No worker of the model server is ready.", 1)
        return JSONResponse({"status": "ready"})

    return routes


def metrics_router(gateway: Gateway) -> APIRouter:
    """`/metrics`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/metrics", operation_id="metrics", summary="Metrics for Prometheus", response_model=None, response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(await gateway.metrics.text(), media_type=MEDIA_TYPE)

    return routes
