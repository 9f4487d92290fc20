"""What a decision tells: metrics for Prometheus, notices to people. Neither ever stops the controller."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from goodsight.settings import settings
from lineage import history
from monitoring.decision import Decision
from monitoring.observation import EPOCH, Run

if TYPE_CHECKING:
    from monitoring.metrics import Metrics
    from monitoring.notify import Notifier, Severity

MONTH = 30 * 24.0  # hours in which the end of a run is not told again
WEEK = 7 * 24.0
OFTEN = 3  # failures in a row that people are told of
FEEDBACK_DAYS = 14
logger = logging.getLogger(__name__)


class Announcer:
    """Tells through what it is given; without anything it is silent."""

    def __init__(self, metrics: Metrics | None = None, notifier: Notifier | None = None) -> None:
        self.metrics, self._notifier = metrics, notifier

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[dict[str, str]]:
        """Counts and times one look by what is put under `decision`."""
        if self.metrics is None:
            yield {}
            return
        with self.metrics.evaluating() as told:
            yield told

    def leads(self, leads: bool) -> None:
        if self.metrics:
            self.metrics.leads(leads)

    def again(self) -> None:
        """Those that did not take a notice are tried once more, when it is time."""
        if self._notifier:
            self._notifier.again()

    def failed(self, why: str, times: int) -> None:
        """A look failed so many times in a row."""
        if times >= OFTEN:
            self._notice("watch fails", "Goodsight cannot decide on retraining", f"{times} looks failed in a row: {why}", "failure")

    def tell(self, made: Decision) -> None:
        """What was decided, and what ended since the decision before."""
        try:
            self._update(made)
        except Exception as error:  # metrics stop no controller
            logger.warning("the metrics are late: %s", error)
        if made.decision == "start":
            self._notice(f"start {made.run_id}", f"Goodsight trains on {made.revision}", made.reason, "info")
        since = made.seen.previous or made.seen.now
        for run in made.seen.runs:
            if run.ended and run.ended > since:
                self._ended(run)
        self._refused(made)
        self._stuck(made)

    def _ended(self, run: Run) -> None:
        if run.state == "SUCCEEDED" and run.verdict == "promote":
            title, severity = f"Goodsight has a new model, from {run.revision}", "success"
        elif run.state == "SUCCEEDED" and run.verdict == "reject":
            title, severity = f"The gate rejected a candidate from {run.revision}", "warning"
        elif run.state == "FAILED":
            title, severity = f"A retraining on {run.revision} failed", "failure"
        else:
            return
        body = f"{run.run_id}: {run.cause}" if run.cause else f"goodsight runs show {run.run_id}"
        self._notice(f"run {run.run_id} {run.state}", title, body, severity, MONTH)  # type: ignore[arg-type]

    def _refused(self, made: Decision) -> None:
        newest = made.seen.data[-1] if made.seen.data else None
        if newest and newest.refused:
            self._notice(f"data {newest.revision}", f"The data {newest.revision} were refused", newest.refused, "warning", MONTH)

    def _stuck(self, made: Decision) -> None:
        """Something is due and only people can help: newer data, a run that keeps failing."""
        for each in made.constraints:
            given_up = each.name == "retries" and each.figures.get("failures", 0) > each.figures.get("most", 0)
            if each.holds and (each.name == "news" or given_up):
                self._notice(f"{each.name} {made.revision}", "A retraining is due and held back", made.reason, "warning", WEEK)

    def _notice(self, key: str, title: str, body: str, severity: Severity, hours: float = 12.0) -> None:
        if self._notifier:
            self._notifier.tell(key, title, body, severity, hours)

    def _update(self, made: Decision) -> None:
        if self.metrics is None:
            return
        from lineage import feedback, runs

        seen = made.seen
        champion = {"version": seen.champion.version, "since": seen.champion.since.isoformat()} if seen.champion else None
        told = {run.run_id: run for run in runs.list_runs(settings().root, settings().ledger_url)}
        for run in seen.runs:
            if run.run_id in told and not told[run.run_id].ended:  # its platform may know better than its steps how it is
                told[run.run_id] = replace(told[run.run_id], state=run.state)
            elif run.run_id not in told and run.state == "RUNNING":  # on a cluster its first step may wait for a pod
                told[run.run_id] = runs.Run(run.run_id, run.state, run.started.isoformat(), since=run.started.isoformat())
        validations = history.of_kind(settings().ledger_url, "validation").events
        since = max(EPOCH, seen.now - timedelta(days=FEEDBACK_DAYS))
        self.metrics.update(
            decision=made.to_json(),
            champion=champion,
            runs=[run.to_json() for run in told.values()],
            feedback=feedback.figures(settings().predictions_url, since, seen.now, names=feedback.SAID),
            data=validations[-1].payload if validations else None,
        )
