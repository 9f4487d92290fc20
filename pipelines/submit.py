"""Runs and schedules of our pipelines on Kubeflow Pipelines, through kfp's client.

The endpoint is `GOODSIGHT_KFP_ENDPOINT`; the token is `GOODSIGHT_KFP_TOKEN`, or in a pod the one that the kubelet projects for
Kubeflow Pipelines. A schedule is a recurring run with a name: setting it again changes it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.digests import sha256_file, sha256_json
from goodsight.errors import BusyError, GoodsightError, InputError, NotFoundError
from goodsight.settings import settings
from pipelines.compile import Name, compile_pipeline

if TYPE_CHECKING:
    import kfp
    from kfp_server_api import V2beta1PipelineTaskDetail, V2beta1RecurringRun, V2beta1Run

STEP = "-component"  # how the names of tasks end that are steps; the others are Kubeflow's own
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
KUBELET_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
SECONDS = 15  # for the first answer of the endpoint
PAGE = 100


class Kubeflow:
    """One Kubeflow Pipelines and the experiment there that our runs belong to."""

    def __init__(self, endpoint: str, experiment: str = "goodsight") -> None:
        """Raises `InputError` when there is no endpoint or it knows us not, `BusyError` when it does not answer."""
        if not endpoint:
            raise InputError("No Kubeflow Pipelines to speak to.", "Give --endpoint URL, or set GOODSIGHT_KFP_ENDPOINT.")
        self.endpoint = (endpoint if "://" in endpoint else f"https://{endpoint}").rstrip("/")
        self._namespace = settings().namespace if _several_users(self.endpoint) else None
        with self._answers():
            self._client = _client(self.endpoint)
            self._experiment = self._client.create_experiment(experiment, namespace=self._namespace).experiment_id

    def submit(self, pipeline: Name, arguments: dict[str, Any], service_account: str = "", name: str = "") -> dict[str, Any]:
        """Starts a run; returns what `status` tells. Raises `InputError` when an argument is none of the pipeline's."""
        with _compiled(pipeline, arguments) as package, self._answers():
            name = name or f"{pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
            asked = {"params": arguments, "pipeline_package_path": str(package), "service_account": service_account or None}
            run = self._client.run_pipeline(self._experiment, name, **asked)
        return self.status(run.run_id)

    def schedule(self, name: str, cron: str, pipeline: Name, arguments: dict[str, Any], service_account: str = "") -> dict[str, Any]:
        """Runs the pipeline by the calendar under this name, one run at a time; returns the schedule.

        The schedule that has the name is kept where it is the same, else another one takes its place.
        """
        with _compiled(pipeline, arguments) as package, self._answers():
            wanted = {"cron_expression": six_fields(cron), "params": arguments, "service_account": service_account or None}
            digest = sha256_json([wanted, sha256_file(package)])
            before = self._named(name)
            same = next((each for each in before if each.description == digest), None)
            kept = same or self._client.create_recurring_run(
                self._experiment, name, digest, no_catchup=True, max_concurrency=1, pipeline_package_path=str(package), **wanted
            )
            for each in before:
                if each.recurring_run_id != kept.recurring_run_id:
                    self._client.delete_recurring_run(each.recurring_run_id)
        return {**_schedule(kept), "changed": same is None}

    def schedules(self) -> list[dict[str, Any]]:
        """Every schedule of the experiment, by name."""
        with self._answers():
            return sorted((_schedule(each) for each in self._recurring()), key=lambda each: each["name"])

    def unschedule(self, name: str) -> None:
        """Removes the schedule; its runs stay. Raises `NotFoundError` when there is none."""
        with self._answers():
            found = self._named(name)
            for each in found:
                self._client.delete_recurring_run(each.recurring_run_id)
        if not found:
            raise NotFoundError(f"There is no schedule {name!r}.", "goodsight pipeline schedule --list")

    def status(self, run_id: str) -> dict[str, Any]:
        """State, error and steps of a run; times in seconds. Raises `NotFoundError` when there is no such run."""
        with self._answers(f"There is no run {run_id!r}."):
            run = self._client.get_run(run_id)
        tasks = run.run_details.task_details if run.run_details else None
        steps = [_step(task) for task in tasks or [] if (task.display_name or "").endswith(STEP)]
        return {
            "run": run.run_id,
            "name": run.display_name,
            "state": run.state or "PENDING",
            "ended": run.state in ENDED,
            "error": run.error.message if run.error else "",
            "steps": sorted(steps, key=lambda step: step["started"] or "~"),
            "url": f"{self.endpoint}/#/runs/details/{run.run_id}",
        }

    def named(self, name: str) -> list[str]:
        """The ids of the runs of this name."""
        return [run for run, told, _, _ in self._runs({"key": "name", "operation": "EQUALS", "stringValue": name}) if told == name]

    def newest(self, pipeline: Name) -> list[tuple[str, str, str, datetime | None]]:
        """Id, name, state and beginning of the newest runs of a pipeline, as many as a page has; a run that waits is PENDING.

        One whose pipeline Kubeflow does not tell is among them.
        """
        return self._runs(pipeline=pipeline)

    def _runs(self, predicate: dict[str, Any] | None = None, pipeline: str = "") -> list[tuple[str, str, str, datetime | None]]:
        asked = {"filter": json.dumps({"predicates": [predicate]})} if predicate else {}
        with self._answers():
            page = self._client.list_runs(experiment_id=self._experiment, page_size=PAGE, sort_by="created_at desc", **asked)
        found = [run for run in page.runs or [] if not pipeline or _pipeline_of(run) in ("", f"goodsight-{pipeline}")]
        return [(run.run_id, run.display_name or "", run.state or "PENDING", run.created_at) for run in found]

    def cancel(self, run_id: str) -> None:
        """Asks Kubeflow to end a run: its steps get a SIGTERM. Raises `NotFoundError` when there is no such run."""
        with self._answers(f"There is no run {run_id!r}."):
            self._client.terminate_run(run_id)

    def _recurring(self) -> Iterator[V2beta1RecurringRun]:
        token = ""
        while True:
            page = self._client.list_recurring_runs(page_token=token, page_size=PAGE, experiment_id=self._experiment)
            yield from page.recurring_runs or []
            token = page.next_page_token or ""
            if not token:
                return

    def _named(self, name: str) -> list[V2beta1RecurringRun]:
        return [each for each in self._recurring() if each.display_name == name]

    @contextlib.contextmanager
    def _answers(self, missing: str = "") -> Iterator[None]:
        """What the endpoint refuses, as errors of ours; what kfp's client prints is left out."""
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except ApiException as error:
            raise _explained(error.status, error.reason, self.endpoint, missing) from error
        except (HTTPError, TimeoutError) as error:
            raise BusyError(f"{self.endpoint} does not answer: {error}", "Try again when it does.") from error


def six_fields(cron: str) -> str:
    """A schedule of crontab (5 fields) as Kubeflow reads it, with seconds first. Raises `InputError` for anything else."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise InputError(f"{cron!r} is no schedule.", 'Give minute, hour, day, month and weekday: --cron "0 3 * * 1"')
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


@contextlib.contextmanager
def _compiled(pipeline: Name, arguments: dict[str, Any]) -> Iterator[Path]:
    """The compiled pipeline, once it is sure that it has these arguments and needs no others."""
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        package = compile_pipeline(Path(folder) / f"{pipeline}.yaml", pipeline)
        spec = next(yaml.load_all(package.read_text(), yaml.CSafeLoader))
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in arguments:
            if name not in known:
                raise InputError(f"The pipeline {pipeline} has no argument {name!r}.", f"It has {', '.join(known)}.")
        needed = [name for name, one in known.items() if not one.get("isOptional") and name not in arguments]
        if needed:
            raise InputError(f"The pipeline {pipeline} needs {', '.join(needed)}.", """Give --arguments '{"NAME": VALUE, ...}'""")
        yield package


def _several_users(endpoint: str) -> bool:
    """Whether this Kubeflow keeps users apart by namespaces."""
    import httpx

    try:
        answer = httpx.get(f"{endpoint}/apis/v2beta1/healthz", headers=_authorization(), timeout=SECONDS)
        told = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise BusyError(f"{endpoint} does not answer as Kubeflow Pipelines: {error}", "Is it the right endpoint, and up?") from error
    if not answer.is_success:
        raise _explained(answer.status_code, answer.reason_phrase, endpoint)
    return bool(told.get("multi_user"))


def _authorization() -> dict[str, str]:
    token = settings().kfp_token.get_secret_value()
    path = _kubelet_token()
    if not token and path.exists():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _kubelet_token() -> Path:
    return Path(os.environ.get("KF_PIPELINES_SA_TOKEN_PATH") or KUBELET_TOKEN)


def _client(endpoint: str) -> kfp.Client:
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    token, path = settings().kfp_token.get_secret_value(), _kubelet_token()
    logging.getLogger().setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not token and path.exists():
            return kfp.Client(host=endpoint, credentials=ServiceAccountTokenVolumeCredentials(str(path)))
        return kfp.Client(host=endpoint, existing_token=token or None)


def _explained(status: int, reason: str, endpoint: str, missing: str = "") -> GoodsightError:
    if status == 404 and missing:
        return NotFoundError(missing, f"See {endpoint}/#/runs")
    if status in (401, 403):
        return InputError(f"{endpoint} refuses ({status} {reason}).", "Set GOODSIGHT_KFP_TOKEN to a token that may do this.")
    if status >= 500 or status == 429:
        return BusyError(f"{endpoint} fails ({status} {reason}).", "Try again later.")
    return InputError(f"{endpoint} refuses ({status} {reason}).", "Is it the endpoint of Kubeflow Pipelines 2?")


def _pipeline_of(run: V2beta1Run) -> str:
    """The name that the pipeline of a run has in its specification; empty where the run has none."""
    spec = run.pipeline_spec or {}
    return str((spec.get("pipeline_spec", spec).get("pipelineInfo") or {}).get("name", ""))


def _schedule(run: V2beta1RecurringRun) -> dict[str, Any]:
    cron = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else ""
    arguments = dict(run.runtime_config.parameters or {}) if run.runtime_config else {}
    return {"name": run.display_name, "cron": cron, "enabled": run.status == "ENABLED", "arguments": arguments, "id": run.recurring_run_id}


def _step(task: V2beta1PipelineTaskDetail) -> dict[str, Any]:
    began, ended = task.start_time, task.end_time
    over = ended if ended and ended.year > 1970 else None  # Kubeflow's word for "not yet" is the epoch
    seconds = ((over or datetime.now(UTC)) - began).total_seconds() if began else 0.0
    return {
        "name": task.display_name.removesuffix(STEP),
        "state": task.state or "PENDING",
        "started": began.isoformat() if began else None,
        "seconds": round(max(0.0, seconds), 1),
        "error": task.error.message if task.error else "",
    }
