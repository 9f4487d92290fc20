"""OpenLineage events of the steps: which job ran when, on which data, with which code, and how it ended.

They go where the OpenLineage client is configured to send them (`OPENLINEAGE_URL`, `OPENLINEAGE_CONFIG`, its other
variables), and without any configuration to `openlineage.jsonl` under home, one event a line. They are sent in the
background: a backend that is down holds a step up for `PATIENCE_SECONDS` at the most, fails nothing, and what it did
not take goes to the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

import goodsight
from goodsight.files import read_json
from goodsight.progress import warn
from goodsight.settings import settings

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

NAMESPACE = "goodsight"
PIPELINE = "retrain"  # the job whose parts the steps are
OURS = UUID("6f0f3a52-3d57-5c83-9d5b-0a5f6d2c1f7e")
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Data:
    """What a step reads or writes: the name that it has for every run, its version (a digest), and where it lies, if here."""

    name: str
    version: str
    folder: Path | None = None


@dataclass(frozen=True)
class Moment:
    """A step starts, completes or fails."""

    state: str
    time: str
    outputs: tuple[Data, ...] = ()
    error: str = ""


class StepRun:
    """One run of a step: `start`, then `complete` or `fail`."""

    def __init__(self, name: str, run_id: str = "", code: str = "", inputs: Iterable[Data] = ()) -> None:
        """`run_id` is that of the pipeline run (empty: the step runs alone); the step's own id follows from it. `code`: a digest."""
        self.name, self.code, self.inputs = name, code, tuple(inputs)
        self._parent = _uuid(run_id) if run_id else None
        self._id = uuid5(self._parent, name) if self._parent else uuid4()
        self._waiting: list[Moment] = []
        self._thread: Thread | None = None
        self._client: OpenLineageClient | None = None
        self._fault = ""

    def start(self) -> None:
        self._send(Moment("START", _now()))

    def complete(self, outputs: Iterable[Data]) -> None:
        self._send(Moment("COMPLETE", _now(), tuple(outputs)))
        self._finish()

    def fail(self, error: str) -> None:
        self._send(Moment("FAIL", _now(), error=error))
        self._finish()

    def _send(self, moment: Moment) -> None:
        self._waiting.append(moment)
        self._thread = Thread(target=self._deliver, args=(moment, self._thread), daemon=True)
        self._thread.start()

    def _deliver(self, moment: Moment, before: Thread | None) -> None:
        """After the events before it; the first that is not taken ends it."""
        if before is not None:
            before.join()
        if self._fault:
            return
        try:
            self._client = self._client or client()
            self._client.emit(self._event(moment))
            self._waiting.remove(moment)
        except Exception as error:  # whatever a transport raises: lineage must not fail a run
            self._fault = re.sub(r"//[^/@\s]*@", "//", f"{type(error).__name__}: {error}")  # no password of a URL

    def _finish(self) -> None:
        """Waits a little; what was not taken goes to the file."""
        assert self._thread is not None
        self._thread.join(PATIENCE_SECONDS)
        if not self._waiting:
            return
        file = events_file()
        why = self._fault or f"no answer in {PATIENCE_SECONDS:g} s"
        warn(f"OpenLineage events were not delivered ({why[:300]}); they are in {file}.")
        try:
            for moment in list(self._waiting):
                _file_client(file).emit(self._event(moment))
        except Exception as error:
            warn(f"OpenLineage events are lost: {error}")

    def _event(self, moment: Moment) -> RunEvent:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import source_code_job

        source = {"sourceCode": source_code_job.SourceCodeJobFacet("python", f"sha256:{self.code}")} if self.code else {}
        return RunEvent(
            eventTime=moment.time,
            eventType=RunState[moment.state],
            run=Run(str(self._id), facets=self._run_facets(moment)),
            job=Job(NAMESPACE, self.name, facets={**source}),
            inputs=[_input(data) for data in self.inputs],
            outputs=[_output(data) for data in moment.outputs],
            producer=f"urn:goodsight:{goodsight.__version__}",
        )

    def _run_facets(self, moment: Moment) -> dict[str, Any]:
        from openlineage.client.constants import __version__
        from openlineage.client.facet_v2 import error_message_run, parent_run, processing_engine_run

        facets: dict[str, Any] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(goodsight.__version__, NAMESPACE, __version__)
        }
        if self._parent:
            job, run = parent_run.Job(NAMESPACE, PIPELINE), parent_run.Run(str(self._parent))
            facets["parent"] = parent_run.ParentRunFacet(run, job)
        if moment.error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(moment.error, "python")
        return facets


def events_file() -> Path:
    """Where events go when nothing else is configured."""
    return settings().root / "openlineage.jsonl"


def client() -> OpenLineageClient:
    """The client as its own configuration says, else one that appends to the file under home."""
    from openlineage.client import OpenLineageClient

    at_home = _file_client(events_file())
    configured = os.environ.get("OPENLINEAGE_URL") or (at_home.config.transport or {}).get("type")
    return OpenLineageClient() if configured else at_home


def _file_client(file: Path) -> OpenLineageClient:
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport

    file.parent.mkdir(parents=True, exist_ok=True)
    return OpenLineageClient(transport=FileTransport(FileConfig(str(file), append=True)))


def _input(data: Data) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as quality

    rows, files = _counts(data)
    measured = {"dataQualityMetrics": quality.DataQualityMetricsInputDatasetFacet({}, rowCount=rows, fileCount=files)} if files else {}
    return InputDataset(NAMESPACE, data.name, facets=_version(data), inputFacets={**measured})


def _output(data: Data) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    rows, files = _counts(data)
    counted = {"outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows, fileCount=files)} if files else {}
    return OutputDataset(NAMESPACE, data.name, facets=_version(data), outputFacets={**counted})


def _version(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(data.version)} if data.version else {}


def _counts(data: Data) -> tuple[int, int]:
    """Products and files of a snapshot; zeros for everything else."""
    manifest = data.folder / "manifest.json" if data.folder else None
    told: Mapping[str, Any] = read_json(manifest) if manifest and manifest.is_file() else {}
    return (told["counts"]["products"], len(told["files"])) if "counts" in told else (0, 0)


def _uuid(run_id: str) -> UUID:
    """Kubeflow's run ids are UUIDs already."""
    try:
        return UUID(run_id)
    except ValueError:
        return uuid5(OURS, run_id)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
