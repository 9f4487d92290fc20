"""A training as a run of MLflow while it goes on: loss by objective, learning rate, samples a second, memory, MFU.

A training that goes on from its checkpoint goes on in the same run. Figures are sent a few seconds' worth at a time; a tracking
server that does not answer stops no training: it is told once, and the loss curve of the step has every loss anyway.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from goodsight.files import read_json, write_json
from goodsight.progress import warn
from lineage.registry import connect, experiment, metric_name

EXPERIMENT = "goodsight-training"
SEND_SECONDS = 5.0
MOST = 1000  # figures that MLflow takes at once


class TrainingRun:
    """The run named `name`; `place` is the folder where the training keeps its checkpoints, and this which run is its own."""

    def __init__(self, name: str, place: Path, params: dict[str, Any]) -> None:
        self.name, self.place, self.params = name, place / "mlflow.json", params
        self.waiting: list[Any] = []
        self.sent, self.lost = 0.0, False
        self.run = ""

    def told(self, step: int, figures: dict[str, float]) -> None:
        """Takes the figures of a step."""
        if self.lost:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.waiting += [Metric(metric_name(name), value, now, step) for name, value in figures.items() if name != "step"]
        if time.monotonic() - self.sent >= SEND_SECONDS or len(self.waiting) > MOST - len(figures):
            self._send()

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The run is over; a later process may go on in it."""
        self._send()
        if self.run and not self.lost:
            connect().set_terminated(self.run, "FAILED" if kind else "FINISHED")

    def _send(self) -> None:
        if not self.waiting or self.lost:
            return
        try:
            client = connect()
            self.run = self.run or self._own(client)
            client.log_batch(self.run, metrics=self.waiting)
        except Exception as error:  # whatever MLflow or the network raise
            self.lost = True
            warn(f"Training goes on without MLflow: {str(error).splitlines()[0]}")
        self.waiting, self.sent = [], time.monotonic()

    def _own(self, client: Any) -> str:
        """The run that this training had before, or a new one."""
        from mlflow.exceptions import MlflowException

        if self.place.exists():
            run = str(read_json(self.place)["run"])
            try:
                client.update_run(run, "RUNNING")
                return run
            except MlflowException:  # deleted, or another server
                pass
        run = str(client.create_run(experiment(client, EXPERIMENT), run_name=self.name).info.run_id)
        for name, value in self.params.items():
            client.log_param(run, name, value)
        write_json(self.place, {"run": run})
        return run
