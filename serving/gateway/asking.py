"""One request of `/v1` and its answer: the one way from the routes to the model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.gateway.caller import Caller
from serving.gateway.problems import Problem
from serving.gateway.upstream import Reply, Upstream

AT_ONCE = 8  # requests of one batch that are under way or in the queue together


async def answer(upstream: Upstream, fields: Mapping[str, Any], caller: Caller, version: str | None = None) -> Reply:
    """The answer to one request, `task` among its fields. Raises `Problem` when there is none."""
    if version is None and upstream.rolling:
        reply = await upstream.rolling.ask(fields, caller)
    else:
        reply = await upstream.ask(fields, version, caller.deadline, caller.leaving)
    if reply.status != 200:
        raise refusal(reply)
    return reply


def refusal(reply: Reply) -> Problem:
    """The problem that a refusal of the model server is."""
    said = json.loads(reply.body)
    return Problem(reply.status, str(said["error"]), id=said.get("id"))


async def answers(
    upstream: Upstream, requests: Sequence[Mapping[str, Any] | Problem], caller: Caller, version: str | None = None
) -> list[Reply | Problem]:
    """What each of a batch came to, in their order. Raises `Problem` when none was taken because of the load or the time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(fields: Mapping[str, Any] | Problem) -> Reply | Problem:
        if isinstance(fields, Problem):
            return fields
        async with places:
            try:
                return await answer(upstream, fields, caller, version)
            except Problem as problem:
                return problem

    found = await asyncio.gather(*map(one, requests))
    problems = [each for each in found if isinstance(each, Problem)]
    if len(problems) == len(found) and all(each.status in (429, 499, 503, 504) for each in problems):
        raise problems[-1]
    return found
