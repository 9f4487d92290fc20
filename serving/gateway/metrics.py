"""Metrics for Prometheus: what the gateway counts, and behind it what TorchServe counts of its workers."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.gateway.upstream import Upstream

BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Queue(Collector):
    """What the queue before the model server is like when somebody looks."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def collect(self) -> Iterator[Metric]:
        counts = self._upstream.counts
        yield GaugeMetricFamily("goodsight_queue_waiting", "Requests that wait for the model.", self._upstream.waiting)
        yield GaugeMetricFamily("goodsight_queue_size", "Requests that may wait for the model.", self._upstream.queue)
        yield GaugeMetricFamily("goodsight_sent", "Requests that the model server has.", counts.sent)
        yield CounterMetricFamily("goodsight_refused", "Requests that found the queue full.", counts.refused)
        yield CounterMetricFamily("goodsight_left", "Requests whose callers left while they waited.", counts.left)
        yield CounterMetricFamily("goodsight_late", "Requests that took longer than they may.", counts.late)
        yield CounterMetricFamily("goodsight_sent_again", "Requests sent again, because a worker was lost or there was none.", counts.again)


class Metrics:
    """The metrics of one gateway."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._registry = CollectorRegistry()
        self._registry.register(_Queue(upstream))
        labels = ("route", "status", "version")
        self._requests = Counter("goodsight_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "goodsight_request_seconds", "Seconds of a request.", ("route",), registry=self._registry, buckets=BUCKETS
        )

        self._feedback = Counter("goodsight_feedback_pieces", "Pieces of feedback that came.", ("kind", "result"), registry=self._registry)

    def feedback(self, kind: str, result: str) -> None:
        """Counts one piece: `result` is new, known (said before) or refused."""
        self._feedback.labels(kind, result).inc()

    def record(self, route: str, status: int, version: str, seconds: float) -> None:
        """Counts one request; `status` 0 is a caller who got no answer."""
        self._requests.labels(route, str(status), version).inc()
        self._seconds.labels(route).observe(seconds)

    async def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry) + await self._upstream.transport.metrics()
