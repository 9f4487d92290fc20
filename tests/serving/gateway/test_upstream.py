"""The bounded queue before the model: who waits, who is refused, and what happens to those who leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.serving.gateway.standing import Held, Stand, problem

pytestmark = pytest.mark.anyio
SOFA = {"text": "sofa"}


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Lets others go on until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)


def ask(client: httpx.AsyncClient, fields: dict[str, Any] = SOFA) -> asyncio.Task[httpx.Response]:
    return asyncio.ensure_future(client.post("/v1/search", json=fields))


async def test_a_full_queue_refuses_with_a_time_to_come_back(stand: Stand) -> None:
    async with stand(held := Held(), queue=2, slots=1) as it:
        accepted = [ask(it.client) for _ in range(3)]
        await until(lambda: it.gateway.upstream.waiting == 2 and bool(held.came))
        refused = await it.client.post("/v1/search", json=SOFA)
        assert problem(refused, 429) and int(refused.headers["retry-after"]) >= 1
        assert len(held.came) == 1, "one slot, one request under way"
        held.let_go()
        assert [each.status_code for each in await asyncio.gather(*accepted)] == [200] * 3
        assert (await it.client.post("/v1/search", json=SOFA)).status_code == 200


async def test_who_waits_too_long_is_told_and_frees_his_place(stand: Stand) -> None:
    async with stand(held := Held(), queue=1, slots=1, seconds=0.05) as it:
        sent, waited = await asyncio.gather(ask(it.client), ask(it.client))
        assert problem(sent, 504)["detail"] != problem(waited, 504)["detail"]
        counts = it.gateway.upstream.counts
        assert (it.gateway.upstream.waiting, counts.sent, counts.late) == (0, 1, 2), "what was sent is computed still"
        held.let_go()
        await until(lambda: counts.sent == 0)
        assert len(held.came) == held.done == 1, "what only waited was never sent"


async def leave(standing: Any) -> None:
    """A caller who sends a request and is gone, as an ASGI server tells it."""
    sent = [{"type": "http.request", "body": b'{"text": "sofa"}', "more_body": False}, {"type": "http.disconnect"}]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/search",
        "raw_path": b"/v1/search", "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip

    async def receive() -> Any:
        return sent.pop(0) if len(sent) > 1 else sent[0]

    async def send(message: Any) -> None:
        pass

    await standing.app(scope, receive, send)


async def test_who_leaves_the_queue_frees_his_place(stand: Stand) -> None:
    async with stand(held := Held(), queue=1, slots=1) as it:
        first = ask(it.client)
        await until(lambda: it.gateway.upstream.counts.sent == 1)
        await leave(it)
        assert (it.gateway.upstream.waiting, it.gateway.upstream.counts.left) == (0, 1)
        second = ask(it.client)
        await until(lambda: it.gateway.upstream.waiting == 1)
        held.let_go()
        assert [(await each).status_code for each in (first, second)] == [200, 200] and len(held.came) == 2


async def test_who_leaves_after_his_turn_keeps_the_slot_until_the_model_is_done(stand: Stand) -> None:
    async with stand(held := Held(), queue=1, slots=1) as it:
        gone = asyncio.ensure_future(it.gateway.upstream.ask({"task": "search"}, None, asyncio.get_running_loop().time() + 30))
        await until(lambda: len(held.came) == 1)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        waiting = ask(it.client)
        await until(lambda: it.gateway.upstream.waiting == 1)
        assert len(held.came) == 1 and it.gateway.upstream.counts.sent == 1
        held.let_go()
        assert (await waiting).status_code == 200 and held.done == 2


async def test_one_lost_worker_fails_no_request(stand: Stand) -> None:
    async with stand(held := Held(lost=1)) as it:
        held.let_go()
        assert (await it.client.post("/v1/search", json=SOFA)).status_code == 200
        assert len(held.came) == 2 and it.gateway.upstream.counts.again == 1


async def test_a_request_that_loses_two_workers_is_not_sent_a_third_time(stand: Stand) -> None:
    async with stand(held := Held(lost=2)) as it:
        refused = await it.client.post("/v1/search", json=SOFA)
        assert problem(refused, 503) and refused.headers["retry-after"] and len(held.came) == 2


async def test_a_batch_waits_in_few_places_and_is_refused_only_whole(stand: Stand) -> None:
    async with stand(held := Held(), queue=4, slots=4) as it:
        batch = asyncio.ensure_future(it.client.post("/v1/search", json={"requests": [SOFA] * 32}))
        await until(lambda: it.gateway.upstream.waiting == 4)
        problem(await it.client.post("/v1/search", json={"requests": [SOFA] * 3}), 429)
        held.let_go()
        assert [each["id"] for each in (await batch).json()["responses"]] == ["1"] * 32


async def test_ready_is_when_a_worker_is_and_the_server_does_not_stop(stand: Stand) -> None:
    async with stand(held := Held()) as it:
        assert (await it.client.get("/health/ready")).json() == {"status": "ready"}
        held.ready = False
        problem(await it.client.get("/health/ready"), 503)
        held.ready, it.gateway.stopping = True, True
        stopping = await it.client.get("/health/ready")
        assert problem(stopping, 503) and stopping.headers["connection"] == "close"
        assert (await it.client.get("/health/live")).status_code == 200
        assert held.came == []
