"""What every request passes, whatever its route: its id, its size, the Host it names, and no failure that is not told as a problem."""

from __future__ import annotations

import re
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage.predictions import new_id
from serving.gateway import logs
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.routing import route_of

LARGEST_BODY = 16 * 2**20  # bytes
REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}


def request_id(headers: Headers) -> str:
    """What the caller calls the request, if that is a short plain name; else a new id."""
    named = headers.get("x-request-id", "")
    return named if REQUEST_ID.fullmatch(named) else new_id()


def host_name(headers: Headers) -> str:
    """The name in the Host header, without the port."""
    return re.sub(r":\d*$", "", headers.get("host", "")).lower()


def check_host(headers: Headers) -> None:
    """An open server on loopback answers to its own names alone, so that no page of another site reaches it through the browser.

    Raises `Problem` for another name (DNS rebinding), and for a page of another origin.
    """
    if host_name(headers) not in LOOPBACK_NAMES:
        raise Problem(421, "This server answers to localhost, 127.0.0.1 and [::1] alone; give it API keys to be called by another name.")
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{headers['host']}".lower():
        raise Problem(403, "A page of another origin may not ask this server, which has no API keys.")


class Boundary:
    """ASGI: the boundary around `app`."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app, self.gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, headers, status = time.perf_counter(), Headers(scope=scope), 0
        id = scope.setdefault("state", {})["request_id"] = request_id(headers)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(message, id)
            await send(message)

        try:
            await self._pass(scope, headers, receive, answer)
        except Exception as error:
            problem = error if isinstance(error, Problem) else Problem(500, "The gateway failed; its log says more under the request's id.")
            if problem is not error:
                logs.failure(id, error)
            if not status:
                await problem.response(id)(scope, receive, answer)
        finally:
            self._record(scope, status, time.perf_counter() - started)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        if self.gateway.access.open:
            check_host(headers)
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > LARGEST_BODY:
            raise too_large()
        await self.app(scope, _bounded(receive), send)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts and logs a request; probes are not logged. Status 0: the caller got no answer."""
        state, route = scope["state"], route_of(scope)
        version, key = state.get("version", ""), state.get("key")
        self.gateway.metrics.record(route, status, version, seconds)
        if not route.startswith(("/health", "/metrics", "/v2/health")):
            told = {"request_id": state["request_id"], "method": scope["method"], "route": route, "status": status}
            logs.request({**told, "ms": round(1000 * seconds, 2), "version": version, "key": key.name if key else ""})

    def _add_headers(self, message: Message, id: str) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = id
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Cache-Control", "no-store")
        if self.gateway.stopping or message["status"] == 413:
            headers["Connection"] = "close"


def too_large() -> Problem:
    return Problem(413, f"The body is too large: at most {LARGEST_BODY:,} bytes are allowed.")


def _bounded(receive: Receive) -> Receive:
    """`receive`, which raises `Problem` once the body is too large."""
    came = 0

    async def bounded() -> Any:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > LARGEST_BODY:
            raise too_large()
        return message

    return bounded
