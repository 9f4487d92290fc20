"""The application: routes, the boundary around them, and every failure as a problem."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from serving.gateway import health, openapi, routes
from serving.gateway.boundary import Boundary
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem


def create(gateway: Gateway) -> FastAPI:
    """The application that answers for `gateway`."""
    app = FastAPI(title="Goodsight", version=openapi.VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.include_router(routes.router(gateway))
    app.include_router(health.router(gateway))
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    app.add_middleware(
        Boundary, open_to_loopback=lambda: gateway.open, stopping=lambda: gateway.stopping, record=_record, failed=_failed
    )
    return app


def _record(scope: Scope, status: int, seconds: float) -> None:
    pass


def _failed(scope: Scope, error: Exception) -> None:
    logging.getLogger(__name__).error("request %s failed", scope["state"]["request_id"], exc_info=error)


async def _problem(request: Request, error: Any) -> Response:
    found: Problem = error
    return found.response(request.state.request_id)


async def _http(request: Request, error: Any) -> Response:
    """What the framework refuses: a path that is not there, a method."""
    response = Problem(error.status_code, str(error.detail)).response(request.state.request_id)
    response.headers.update(error.headers or {})
    return response


async def _validation(request: Request, error: Any) -> Response:
    """A wrong parameter of a path or a query, without its value."""
    parts = [f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()]
    return Problem(400, f"Bad request: {'; '.join(parts)}.").response(request.state.request_id)
