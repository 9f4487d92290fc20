"""OpenTelemetry traces, where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector; the other OTEL_* variables count as everywhere.

A request's trace goes on from the W3C `traceparent` that it brings, and on to the model server in the same header. Without a
collector nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.routing import route_of

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

COLLECTOR = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Tracing:
    """Spans, or nothing at all where there is no tracer."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[dict[str, str]]:
        """A span of what is done inside; gives the headers that carry the trace on."""
        if self._tracer is None:
            yield {}
            return
        from opentelemetry.propagate import inject

        headers: dict[str, str] = {}
        with self._tracer.start_as_current_span(name, attributes=attributes):
            inject(headers)
            yield headers


@contextmanager
def exported() -> Iterator[Tracer | None]:
    """The tracer whose spans go to the collector; None where none is named. At the end what is left is sent."""
    if not os.environ.get(COLLECTOR):
        yield None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    service = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "goodsight-gateway"}
    provider = TracerProvider(resource=Resource.create(service))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider.get_tracer("serving.gateway")
    finally:
        provider.shutdown()


class Traced:
    """ASGI: a span around each request of `app`."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app, self.tracer = app, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carried: Mapping[str, str] = dict(Headers(scope=scope))
        method = scope["method"]
        with self.tracer.start_as_current_span(method, context=extract(carried), kind=SpanKind.SERVER) as span:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self.app(scope, receive, answer)
            route = route_of(scope)
            span.update_name(f"{method} {route}")
            span.set_attributes({"http.request.method": method, "http.route": route, "goodsight.request_id": scope["state"]["request_id"]})
