"""The Python client against a server that fails in ways that can be chosen: what is tried again, how often, and what a caller is told."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from goodsight_client import AsyncClient, Client, Failed, Refused, Retries, Unavailable
from hypothesis import given
from hypothesis import strategies as st

ANSWER = {
    "id": "1", "task": "search", "modalities": ["text"], "model_version": "1", "candidate": "c", "index": "i",
    "results": [{"id": "p1", "title": "Sofa", "category": "Living room", "price": 9.5, "score": 0.5, "stock": 3}],
}  # fmt: skip
PROBLEM = {"status": 503, "title": "Service Unavailable", "detail": "The model is loading.", "request_id": "r1"}
QUICK = Retries(tries=4, first=0.001, longest=0.01)


@contextmanager
def server(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these (status, body) in turn, the last one for ever; its url and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", asked
        finally:
            http.shutdown()


def test_what_is_temporary_is_tried_until_it_is_over() -> None:
    with server((503, PROBLEM), (429, PROBLEM), (200, ANSWER)) as (url, asked), Client(url, retries=QUICK) as client:
        found = client.search("sofa")
    assert asked == ["/v1/search"] * 3
    assert found.results[0].price == 9.5 and found.results[0].stock == 3  # type: ignore[attr-defined]


def test_a_coroutine_waits_in_the_same_way() -> None:
    async def search(url: str) -> str:
        async with AsyncClient(url, retries=QUICK) as client:
            return (await client.search("sofa")).results[0].id

    with server((502, b"bad gateway"), (200, ANSWER)) as (url, asked):
        assert asyncio.run(search(url)) == "p1"
    assert len(asked) == 2


def test_what_stays_temporary_is_told_with_the_servers_own_words() -> None:
    with server((503, PROBLEM)) as (url, asked), Client(url, retries=QUICK) as client, pytest.raises(Unavailable) as caught:
        client.search("sofa")
    assert len(asked) == 4 and "The model is loading." in str(caught.value)
    assert caught.value.problem is not None and caught.value.problem.request_id == "r1"


@pytest.mark.parametrize(("status", "kind"), [(400, Refused), (401, Refused), (413, Refused), (500, Failed)])
def test_what_would_fail_again_is_not_sent_again(status: int, kind: type[Exception]) -> None:
    problem = {**PROBLEM, "status": status}
    with server((status, problem)) as (url, asked), Client(url, retries=QUICK) as client, pytest.raises(kind, match=str(status)):
        client.search("sofa")
    assert len(asked) == 1


@pytest.mark.parametrize("body", [b"<html>", {"results": []}], ids=["no JSON", "another service"])
def test_another_service_is_not_believed(body: Any) -> None:
    with server((200, body)) as (url, _), Client(url, retries=QUICK) as client, pytest.raises(Failed, match="as a Goodsight server"):
        client.search("sofa")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with server((200, ANSWER)) as (url, _):
        pass
    with Client(url, retries=QUICK) as client, pytest.raises(Unavailable, match="tried 4 times"):
        client.search("sofa")


@given(tried=st.integers(1, 60), asked=st.one_of(st.none(), st.integers(0, 10**6).map(str), st.text(max_size=9)))
def test_waits_are_bounded_and_at_least_what_the_server_asks_for(tried: int, asked: str | None) -> None:
    retries = Retries(first=0.2, longest=5.0)
    wait = retries.wait(tried, asked)
    told = float(asked) if asked and asked.isdecimal() else 0.0
    assert min(told, 5.0) <= wait <= min(told, 5.0) + min(5.0, 0.2 * 2 ** (tried - 1))
