"""The routes of `/v1`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from goodsight.errors import InputError
from models.config import Effort
from serving.gateway import bodies
from serving.gateway.asking import answer, answers
from serving.gateway.caller import Caller
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.schemas import ANSWERS, REQUESTS, Products
from serving.gateway.upstream import Reply
from serving.request import MAX_K

SUMMARIES = {
    "categorize": "Name the category of a product",
    "search": "Find products",
    "embed": "Give the vector of a product or a query",
    "recommend": "Recommend products",
}


def caller(request: Request) -> Caller:
    """Who asks, with the time that he has."""

    async def leaving() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    key = request.state.key
    return Caller(request.state.request_id, key.name if key else "", request.state.deadline, leaving)


def router(gateway: Gateway) -> APIRouter:
    """The routes, for the model server of `gateway`."""
    routes = APIRouter(prefix="/v1")
    for task in REQUESTS:
        routes.add_api_route(
            f"/{task}", _predicting(gateway, task), methods=["POST"], operation_id=task, summary=SUMMARIES[task],
            description=REQUESTS[task].__doc__, response_class=JSONResponse, response_model=None, responses={200: {"model": ANSWERS[task]}},
        )  # fmt: skip
    _add_products(routes, gateway)
    _add_predictions(routes, gateway)
    return routes


def _predicting(gateway: Gateway, task: str) -> Callable[[Request], Awaitable[Response]]:
    async def predict(request: Request) -> Response:
        await gateway.admit(request, "predict")
        asked = await bodies.in_time(request, bodies.read(request, task))
        who = caller(request)
        requests = [each if isinstance(each, Problem) else {"task": task, **each} for each in asked.requests]
        if asked.batch:
            await gateway.charge(request, len(requests) - 1)
            found = await answers(gateway.upstream, requests, who)
            return _joined(found, request)
        [fields] = requests
        assert not isinstance(fields, Problem)
        return told(await answer(gateway.upstream, fields, who), request)

    return predict


def told(reply: Reply, request: Request) -> Response:
    """The answer as it came."""
    request.state.version = reply.version
    return Response(reply.body, media_type="application/json")


def _joined(found: list[Reply | Problem], request: Request) -> Response:
    """A batch's answers, each as it came."""
    request.state.version = next((each.version for each in found if isinstance(each, Reply)), "")
    parts = [each.body if isinstance(each, Reply) else bytes(each.response(request.state.request_id).body) for each in found]
    return Response(b'{"responses": [' + b", ".join(parts) + b"]}", media_type="application/json")


def _add_products(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get(
        "/products/{id:path}/similar", operation_id="similar", summary="Find the products that are like one", response_model=None,
        response_class=JSONResponse, responses={200: {"model": Products}},
    )  # fmt: skip
    async def similar(
        request: Request,
        id: Annotated[str, InPath(min_length=1, max_length=512, description="The id of a product.")],
        k: Annotated[int, Query(ge=1, le=MAX_K, description="How many answers.")] = 10,
        effort: Annotated[Effort | None, Query(description="How deep the model computes.")] = None,
        filters: Annotated[str | None, Query(max_length=20_000, description="What products must have, as in a search, as JSON.")] = None,
    ) -> Response:
        """The products nearest to a product of the index, itself left out."""
        await gateway.admit(request, "predict")
        fields: dict[str, Any] = {"task": "similar", "product": id, "k": k, **({"effort": effort} if effort else {})}
        if filters:
            fields["filters"] = bodies.filters(filters)
        return told(await answer(gateway.upstream, fields, caller(request)), request)


def _add_predictions(routes: APIRouter, gateway: Gateway) -> None:
    @routes.get(
        "/predictions/{id}", operation_id="passport", summary="Tell what stands behind an answer", response_model=None,
        response_class=JSONResponse, responses={200: {"model": dict[str, Any]}},
    )  # fmt: skip
    async def passport(
        request: Request, id: Annotated[str, InPath(min_length=1, max_length=64, description="The id of an answer.")]
    ) -> Response:
        """The passport of an answer: model, data, code and decisions behind it, each link checked now."""
        await gateway.admit(request, "audit")
        try:
            return JSONResponse((await run_in_threadpool(gateway.passport, id)).to_json())
        except InputError as error:
            raise Problem(404, error.message) from error
