"""The application: routes, the boundary around them, and every failure as a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway import feedback, health, inference_protocol, openapi, routes, shop, status
from serving.gateway.boundary import Boundary
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.tracing import Traced

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


def create(gateway: Gateway, tracer: Tracer | None = None) -> FastAPI:
    """The application that answers for `gateway`, its requests in spans where there is a tracer."""
    app = FastAPI(title="Goodsight", version=openapi.VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.include_router(routes.router(gateway))
    app.include_router(feedback.router(gateway))
    app.include_router(inference_protocol.router(gateway))
    app.include_router(health.router(gateway))
    app.include_router(shop.router(gateway))
    app.include_router(status.router(gateway))
    app.include_router(health.metrics_router(gateway))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    app.add_middleware(Boundary, gateway=gateway)
    if tracer:
        app.add_middleware(Traced, tracer=tracer)
    return app


async def _problem(request: Request, error: Any) -> Response:
    found: Problem = error
    return found.response(request.state.request_id, protocol=_protocol(request))


async def _http(request: Request, error: Any) -> Response:
    """What the framework refuses: a path that is not there, a method."""
    response = Problem(error.status_code, str(error.detail)).response(request.state.request_id, protocol=_protocol(request))
    response.headers.update(error.headers or {})
    return response


async def _validation(request: Request, error: Any) -> Response:
    """A wrong parameter of a path or a query, without its value."""
    parts = [f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()]
    return Problem(400, f"Bad request: {'; '.join(parts)}.").response(request.state.request_id, protocol=_protocol(request))


def _protocol(request: Request) -> bool:
    """Whether the caller speaks the Open Inference Protocol."""
    return request.url.path.startswith("/v2")
