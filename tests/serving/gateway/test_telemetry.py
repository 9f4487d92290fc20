"""What operators see: metrics, log lines and traces, none with anything of what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from serving.gateway import logs, tracing
from tests.serving.gateway.standing import Held, InProcess, Stand

pytestmark = pytest.mark.anyio
SECRET = "unforgettable"


async def test_metrics_tell_routes_versions_and_the_queue(stand: Stand, model: InProcess) -> None:
    async with stand(model, queue=5) as it:
        await it.client.post("/v1/search", json={"text": "sofa"})
        await it.client.post("/v1/search", json={"text": "sofa", "k": 0})
        await it.client.get("/v1/products/p1/similar")
        await it.client.get(f"/{SECRET}")
        text = (await it.client.get("/metrics")).text
    found = {
        (sample.labels["route"], sample.labels["status"], sample.labels["version"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "goodsight_requests_total"
    }
    assert found == {
        ("/v1/search", "200", "7"): 1, ("/v1/search", "400", ""): 1, ("/v1/products/{id}/similar", "200", "7"): 1, ("other", "404", ""): 1,
    }  # fmt: skip
    assert 'goodsight_request_seconds_count{route="/v1/search"} 2.0' in text and "goodsight_queue_size 5.0" in text
    assert SECRET not in text


async def test_metrics_of_the_model_server_follow(stand: Stand) -> None:
    async with stand(Held()) as it:
        assert (await it.client.get("/metrics")).text.endswith("\nts_queue_latency_microseconds 7.0\n")


async def test_the_log_has_a_line_a_request_and_nothing_of_what_was_asked(stand: Stand, model: InProcess, tmp_path: Path) -> None:
    place = tmp_path / "logs" / "gateway.log"
    with logs.kept(str(place)):
        async with stand(model) as it:
            await it.client.post("/v1/search", json={"text": SECRET}, headers={"X-Request-ID": "r-1"})
            await it.client.post("/v1/search", json={"text": SECRET, SECRET: 1}, headers={"X-Request-ID": "r-2"})
            await it.client.get(f"/v1/products/{SECRET}/similar?k={SECRET}")
            await it.client.get("/health/ready")
    first, second, third = map(json.loads, place.read_text().splitlines())
    told = {"message": "request", "level": "info", "method": "POST", "route": "/v1/search", "request_id": "r-1", "version": "7", "key": ""}
    assert {name: first[name] for name in told} == told and first["status"] == 200 and 0 < first["ms"] < 60_000
    assert (second["status"], second["request_id"], third["route"]) == (400, "r-2", "/v1/products/{id}/similar")
    assert SECRET not in place.read_text()


async def test_a_failure_of_ours_is_a_problem_and_its_traceback_is_in_the_log(stand: Stand, tmp_path: Path) -> None:
    class Broken(Held):
        async def predict(self, *_: object) -> tuple[int, bytes]:
            raise ZeroDivisionError("ours")

    with logs.kept(str(tmp_path / "log")):
        async with stand(Broken()) as it:
            told = await it.client.post("/v1/search", json={"text": "a"})
    assert told.status_code == 500 and "ours" not in told.text and told.json()["request_id"] == told.headers["x-request-id"]
    failure, request = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert failure["request_id"] == request["request_id"] and "ZeroDivisionError: ours" in failure["traceback"] and request["status"] == 500


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """An OpenTelemetry collector, named by the environment; gives what came."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        yield came
        server.shutdown()


async def test_a_trace_goes_from_the_caller_through_to_the_model_server(stand: Stand, collector: list[bytes]) -> None:
    carried: list[str] = []

    class Listening(Held):
        async def predict(self, body: bytes, version: str | None, headers: dict[str, str]) -> tuple[int, bytes]:  # type: ignore[override]
            carried.append(headers["traceparent"])
            return 200, b'{"id": "1", "results": []}'

    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with tracing.exported() as tracer:
        async with stand(Listening(), tracer=tracer) as it:
            await it.client.post("/v1/search", json={"text": SECRET}, headers={"traceparent": f"00-{trace}-{parent}-01"})
    spans: dict[str, Span] = {}
    for body in collector:
        assert SECRET.encode() not in body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    server, predict = spans["POST /v1/search"], spans["predict"]
    assert {span.trace_id.hex() for span in spans.values()} == {trace} and server.parent_span_id.hex() == parent
    assert predict.parent_span_id == server.span_id and carried == [f"00-{trace}-{predict.span_id.hex()}-01"]


def test_without_a_collector_there_are_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    with tracing.exported() as tracer:
        assert tracer is None
