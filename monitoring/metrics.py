"""The controller's metrics for Prometheus: what it last decided and why, drift, the champion, runs and what they cost, feedback, notices.

What is a state is told as it was at the last look, so that a finding or a trigger that is gone is gone from the metrics too. What is
counted in the ledger (runs, verdicts, costs) is told as counters that start where the ledger stands: a restart loses nothing. Only
what happens in this process (evaluations, notices) starts at nought.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

DECISIONS = ("start", "hold", "wait", "failed")
NOTICES = ("sent", "repeated", "failed", "dropped")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED", "LOST")
VERDICTS = ("promote", "reject")
BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
FINDING = ("name", "group", "slice")
COSTS = (("cpu_seconds", "CPU-seconds"), ("gpu_seconds", "GPU-seconds"), ("energy_kwh", "Kilowatt hours, estimated,"), ("cost", "Money"))


def seconds_of(time: str | datetime | None) -> float | None:
    """Seconds since 1970 of an instant (ISO 8601 with a zone, or a datetime); None for none."""
    return (datetime.fromisoformat(time) if isinstance(time, str) else time).timestamp() if time else None


@dataclass(eq=False)
class _Seen(Collector):
    """What was last seen, each as JSON has it."""

    decision: Mapping[str, Any] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    champion: Mapping[str, Any] = field(default_factory=dict)
    runs: Sequence[Mapping[str, Any]] = ()
    feedback: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        yield from self._triggers()
        yield from self._drift()
        yield from self._champion()
        yield from self._runs()
        yield from self._last_run()
        yield from self._feedback()
        yield from self._data()

    def _triggers(self) -> Iterator[Metric]:
        fired = GaugeMetricFamily("goodsight_trigger_fired", "1: this trigger says that a retraining is due.", labels=("trigger", "kind"))
        since = GaugeMetricFamily("goodsight_trigger_since_timestamp_seconds", "Since when it says so.", labels=("trigger",))
        for each in self.decision.get("triggers", ()):
            fired.add_metric((each["name"], each.get("kind", "")), float(bool(each["fired"])))
            if each["fired"] and (instant := seconds_of(each.get("since"))) is not None:
                since.add_metric((each["name"],), instant)
        holds = GaugeMetricFamily("goodsight_constraint_holds", "1: it keeps a retraining that is due.", labels=("constraint",))
        for each in self.decision.get("constraints", ()):
            holds.add_metric((each["name"],), float(bool(each["holds"])))
        yield from (fired, since, holds)

    def _drift(self) -> Iterator[Metric]:
        findings = self.drift.get("findings", ())
        told = (
            ("effect", "Size of a change between the champion's data and what comes now."),
            ("bound", "From which size on a change counts."),
            ("adjusted_p", "How likely chance alone makes such a change, adjusted for the number of tests."),
            ("drifted", "1: changed, by size and by chance."),
        )
        for name, help in told:
            family = GaugeMetricFamily(f"goodsight_drift_{name}", help, labels=FINDING)
            for each in findings:
                if each.get(name) is not None:
                    family.add_metric([str(each.get(label) or "") for label in FINDING], float(each[name]))
            yield family
        most = max((each.get("current_n") or 0 for each in findings), default=0)
        yield GaugeMetricFamily("goodsight_drift_rows", "Answers that the newest comparison looked at.", most)

    def _champion(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("goodsight_champion", "The version that is champion.", labels=("version",))
        since = GaugeMetricFamily("goodsight_champion_since_timestamp_seconds", "Since when it is champion.")
        if self.champion:
            info.add_metric((str(self.champion["version"]),), 1)
            since.add_metric((), seconds_of(self.champion["since"]) or 0)
        yield from (info, since)

    def _runs(self) -> Iterator[Metric]:
        states = Tally(each["state"] for each in self.runs)
        runs = CounterMetricFamily("goodsight_runs", "Retrainings that ended, by how.", labels=("state",))
        for state in ENDED:
            runs.add_metric((state,), states[state])
        verdicts = CounterMetricFamily("goodsight_verdicts", "Verdicts of the gate in them.", labels=("decision",))
        judged = Tally(each.get("verdict") for each in self.runs)
        for verdict in VERDICTS:
            verdicts.add_metric((verdict,), judged[verdict])
        going = [seconds_of(each.get("since") or each.get("started")) or 0 for each in self.runs if each["state"] == "RUNNING"]
        yield from (runs, verdicts)
        yield GaugeMetricFamily("goodsight_run_going", "Retrainings that go on now.", len(going))
        since = GaugeMetricFamily("goodsight_run_started_timestamp_seconds", "When the oldest that goes on began.")
        if going:
            since.add_metric((), min(going))
        yield since
        over = [each for each in self.runs if each["state"] != "RUNNING"]  # a step that is tried again tells anew what it took
        for name, help in COSTS:
            total = sum(step.get(name) or 0 for each in over for step in each.get("steps", ()))
            yield CounterMetricFamily(f"goodsight_runs_{name}", f"{help} of all retrainings.", total)

    def _last_run(self) -> Iterator[Metric]:
        ended = [each for each in self.runs if each["state"] != "RUNNING" and each.get("ended")]
        last = max(ended, key=lambda each: seconds_of(each["ended"]) or 0, default=None)
        when = GaugeMetricFamily("goodsight_last_run_timestamp_seconds", "When the newest ended.", labels=("state",))
        seconds = GaugeMetricFamily("goodsight_last_run_step_seconds", "Seconds of its steps; 0 from the cache.", labels=("step",))
        cost = GaugeMetricFamily("goodsight_last_run_cost", "What it cost, in money.")
        if last:
            when.add_metric((last["state"],), seconds_of(last["ended"]) or 0)
            cost.add_metric((), sum(step.get("cost") or 0 for step in last.get("steps", ())))
            for step in last.get("steps", ()):
                seconds.add_metric((step["name"],), 0.0 if step.get("cached") else step.get("seconds") or 0)
        yield from (when, seconds, cost)

    def _feedback(self) -> Iterator[Metric]:
        counts = GaugeMetricFamily("goodsight_feedback_window", "What the window of feedback holds.", labels=("of",))
        for name, value in self.feedback.items():
            if isinstance(value, int | float):
                counts.add_metric((name,), value)
        share = GaugeMetricFamily("goodsight_feedback_correct_ratio", "Share of judged answers that were right.")
        if judged := self.feedback.get("judged"):
            share.add_metric((), self.feedback.get("correct", 0) / judged)
        yield from (counts, share)

    def _data(self) -> Iterator[Metric]:
        refused = GaugeMetricFamily("goodsight_data_refused", "1: the newest data were refused by their checks.")
        share = GaugeMetricFamily("goodsight_data_quarantined_ratio", "Share of the newest data's products that are in quarantine.")
        if self.data:
            refused.add_metric((), float(self.data["decision"] != "passed"))
            share.add_metric((), self.data["quarantined"] / max(1, self.data["products_in"]))
        yield from (refused, share)


class Metrics:
    """The metrics of one controller."""

    def __init__(self) -> None:
        self._seen, self.registry = _Seen(), CollectorRegistry()
        self.registry.register(self._seen)
        own: dict[str, Any] = {"registry": self.registry}
        self._evaluations = Counter("goodsight_watch_evaluations", "Evaluations of the policy, by decision.", ("decision",), **own)
        self._seconds = Histogram("goodsight_watch_evaluation_seconds", "Seconds of an evaluation.", buckets=BUCKETS, **own)
        self._evaluated = Gauge("goodsight_watch_evaluated_timestamp_seconds", "When an evaluation last came to a decision.", **own)
        self._leader = Gauge("goodsight_watch_leader", "1: this controller holds the lock and decides.", **own)
        self._notices = Counter("goodsight_notices", "Notices to people; repeated: not sent again.", ("result",), **own)
        self._waiting = Gauge("goodsight_notices_waiting", "Notices that a target has not taken yet.", **own)
        for decision in DECISIONS:
            self._evaluations.labels(decision)
        for result in NOTICES:
            self._notices.labels(result)

    def update(
        self,
        *,
        decision: Mapping[str, Any] | None = None,
        drift: Mapping[str, Any] | None = None,
        champion: Mapping[str, Any] | None = None,
        runs: Sequence[Mapping[str, Any]] | None = None,
        feedback: Mapping[str, float] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Tells what was seen; what is not given stays as it was.

        `decision` is the payload of an event `trigger` (its drift is taken too), `drift` a report's JSON, `champion` {version, since},
        `runs` the JSON of `lineage.runs`, all of them, `feedback` the figures of a window, `data` the payload of an event `validation`.
        """
        if decision is not None and drift is None:
            drift = decision.get("drift")
        told = {"decision": decision, "drift": drift, "champion": champion, "runs": runs, "feedback": feedback, "data": data}
        for name, value in told.items():
            if value is not None:
                setattr(self._seen, name, value)

    @contextmanager
    def evaluating(self) -> Iterator[dict[str, str]]:
        """Times one evaluation. What is put into the dictionary under `decision` is counted; an error is counted as `failed`."""
        started, told = time.perf_counter(), {"decision": "failed"}
        try:
            yield told
        except BaseException:
            told["decision"] = "failed"
            raise
        finally:
            self._seconds.observe(time.perf_counter() - started)
            self._evaluations.labels(told["decision"]).inc()
            if told["decision"] != "failed":
                self._evaluated.set_to_current_time()

    def leads(self, leader: bool) -> None:
        self._leader.set(leader)

    def notices(self, result: str, waiting: int) -> None:
        """One notice: `result` is one of NOTICES; `waiting` are not taken yet."""
        self._notices.labels(result).inc()
        self._waiting.set(waiting)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)


@contextmanager
def served(metrics: Metrics, host: str, port: int) -> Iterator[int]:
    """Serves them at http://host:port/metrics while the block runs; yields the port (0: one that is free).

    Raises `BusyError` when the port is taken.
    """
    from prometheus_client import start_http_server

    from goodsight.errors import BusyError

    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        message = f"The metrics cannot be served at {host}:{port}: {error.strerror}."
        raise BusyError(message, "Choose another port with GOODSIGHT_WATCH_PORT.") from error
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
