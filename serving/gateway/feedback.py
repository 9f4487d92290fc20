"""`POST /v1/feedback`: takes clicks, purchases and right categories to the log of feedback.

The prediction log is written a moment after the answer is given, so feedback on an answer of the last seconds waits for it before it is
told that there is no such answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from goodsight.errors import BusyError, ConflictError, GoodsightError, InputError, NotFoundError
from lineage.feedback import KINDS
from lineage.feedback_log import Given, Taken
from serving.gateway import bodies
from serving.gateway.gateway import Gateway
from serving.gateway.pieces import PIECE, Kept
from serving.gateway.problems import Problem, fields_at_fault
from serving.gateway.schemas import LARGEST_BATCH

FRESH_SECONDS = 3.0  # after which an answer is in the log, or never will be
LOOK_SECONDS = (0.02, 0.5)  # between two looks, at first and at most
LARGEST_BODY = 2**19  # bytes: a batch whose texts are all as long as they may be
DAY_SECONDS, DOWN_SECONDS = 3600, 5  # after which it may be tried again

logger = logging.getLogger(__name__)


def router(gateway: Gateway) -> APIRouter:
    """The route, for the log of `gateway`."""
    routes = APIRouter(prefix="/v1")

    @routes.post(
        "/feedback", operation_id="feedback", summary="Tell what came of an answer", response_model=None, response_class=JSONResponse,
        responses={200: {"model": Kept}},
    )  # fmt: skip
    async def feedback(request: Request) -> Response:
        """A click, a purchase or the right category: each about an answer, each counted once, however often it is sent."""
        await gateway.admit(request, "feedback")
        pieces, batch = await bodies.in_time(request, _read(request))
        key = request.state.key.name if request.state.key else ""
        if not batch:
            return JSONResponse(vars(await _give(gateway, pieces[0], key)))
        await gateway.charge(request, len(pieces) - 1)
        return JSONResponse({"responses": [await _give_or_tell(gateway, piece, key, request) for piece in pieces]})

    return routes


async def _read(request: Request) -> tuple[list[Any], bool]:
    """The pieces in a body, and whether they are a batch. Raises `Problem`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "Send application/json.")
    body = await request.body()
    if len(body) > LARGEST_BODY:
        raise Problem(413, f"The body is too large: at most {LARGEST_BODY:,} bytes of feedback are allowed.")
    try:
        told = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"The body is not JSON: {error}.") from error
    if not isinstance(told, dict) or "requests" not in told:
        return [told], False
    pieces = told["requests"]
    plain = isinstance(pieces, list) and all(isinstance(each, dict) for each in pieces)
    if len(told) > 1 or not plain or not 1 <= len(pieces) <= LARGEST_BATCH:
        raise Problem(400, f"A batch is an object with the one field `requests`: a list of 1 to {LARGEST_BATCH} objects.")
    return pieces, True


async def _give_or_tell(gateway: Gateway, piece: Any, key: str, request: Request) -> dict[str, Any]:
    try:
        return vars(await _give(gateway, piece, key))
    except Problem as problem:
        return problem.told(request.state.request_id)


async def _give(gateway: Gateway, piece: Any, key: str) -> Taken:
    """Checks and keeps one piece. Raises `Problem`, and counts what came of it."""
    kind, result = "unknown", "refused"
    try:
        given = _checked(piece)
        kind = given.kind
        taken = await _kept(gateway, given, key)
        result = "new" if taken.new else "known"
        return taken
    finally:
        gateway.metrics.feedback(kind, result)


def _checked(piece: Any) -> Given:
    if not isinstance(piece, dict):
        raise Problem(400, "The body is JSON, but not an object.")
    if not isinstance(piece.get("kind"), str) or piece["kind"] not in KINDS:  # pydantic would tell it again
        raise Problem(400, f"Bad request: kind: it is none of {', '.join(KINDS)}.")
    try:
        return Given(**PIECE.validate_python(piece).model_dump())
    except ValidationError as error:
        raise Problem(400, f"Bad request: {fields_at_fault(error)}.") from error


async def _kept(gateway: Gateway, given: Given, key: str) -> Taken:
    """Raises `Problem`: 400, 404, 409, 429 as `FeedbackLog.give` raises errors, 503 when the log does not answer."""
    pause, most = LOOK_SECONDS
    try:
        while True:
            try:
                return await run_in_threadpool(gateway.feedback, given, key)
            except NotFoundError as error:
                if not _fresh(given.prediction):
                    raise Problem(404, error.message) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, most)
    except InputError as error:
        raise Problem(400, f"Bad request: {error.message}") from error
    except ConflictError as error:
        raise Problem(409, error.message) from error
    except BusyError as error:
        raise Problem(429, error.message, DAY_SECONDS) from error
    except GoodsightError as error:
        logger.warning("feedback is not kept: %s", error.message)
        raise Problem(503, "The log of feedback does not answer. Try again later.", DOWN_SECONDS) from error


def _fresh(id: str) -> bool:
    """Whether an answer with this id, which tells its milliseconds since 1970, may be on its way into the log."""
    return abs(time.time() - (uuid.UUID(id).int >> 80) / 1000) < FRESH_SECONDS
