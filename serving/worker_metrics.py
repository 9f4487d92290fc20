"""The worker's own metrics, each with the version that answered; `metrics.yaml` declares them, TorchServe's metrics port shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.timings import Timings

DECLARED = Path(__file__).with_name("metrics.yaml")
PREFIX = "goodsight_worker"


class WorkerMetrics:
    """Tells the metrics of one version to `cache`, TorchServe's own of a worker (`context.metrics`), or to nobody without one."""

    def __init__(self, cache: Any, version: str) -> None:
        self._cache, self._version = cache, version

    def _tell(self, name: str, kind: str, value: float, *labels: str) -> None:
        if self._cache is not None:
            from ts.metrics.metric_type_enum import MetricTypes

            self._cache.get_metric(f"{PREFIX}_{name}", MetricTypes[kind]).add_or_update(value, [self._version, *labels])

    def batch(self, answered: Sequence[tuple[str, int]], timings: Timings) -> None:
        """One batch: the task (empty for a request that was not understood) and the HTTP status of each answer, and its times."""
        self._tell("batch_size", "HISTOGRAM", len(answered))
        for (task, status), count in Counter(answered).items():
            self._tell("requests_total", "COUNTER", count, task or "none", str(status))
        for part, milliseconds in timings.milliseconds.items():
            self._tell("part_seconds", "HISTOGRAM", round(milliseconds / 1000, 6), part)

    def precision(self, name: str) -> None:
        """In which numbers this version answers here."""
        self._tell("precision", "GAUGE", 1, name)
