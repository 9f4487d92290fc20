"""The step `pretrain` as a TrainJob of the Kubeflow Trainer: made, followed, made anew when its pods are lost, deleted when cancelled.

From here come image, command, environment, nodes and resources of the job; from the TrainingRuntime that `train_runtime` names
come the volume of home, shared memory, secrets by reference, tolerations and security. Inputs and outputs go through home.
The job is named by the digest of its inputs, so that a step that is tried again finds its own job and follows it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_fixed,
)

from components.kubernetes_api import PATIENCE_SECONDS, asked
from goodsight.digests import code_digest, sha256_folder, sha256_json
from goodsight.errors import (
    ERRORS,
    EXIT_BAD_INPUT,
    EXIT_REFUSED,
    EXIT_RETRY,
    BusyError,
    ConflictError,
    GoodsightError,
    InputError,
    NotFoundError,
    RefusedError,
)
from goodsight.files import whole_file, whole_folder
from goodsight.progress import note, parse, warn
from goodsight.settings import RUN_ID, settings

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient
    from kubeflow.trainer.types.types import Runtime

API, JOBS = ("trainer.kubeflow.org", "v1alpha1"), "trainjobs"
NODE = "node"  # the runtime's replicated job, and its container
OF_JOB = "jobset.sigs.k8s.io/jobset-name={},jobset.sigs.k8s.io/replicatedjob-name=" + NODE
RANK = "batch.kubernetes.io/job-completion-index"
RUN = "goodsight/run"  # label: the run of the pipeline that made the job
ATTEMPTS = 5  # how often a job that lost its pods is made
LONGEST_WAIT_SECONDS = 60.0  # between two of them
POLL_SECONDS = 2.0
APPEAR_SECONDS = 90.0  # of a file on a shared volume
QUIET_SECONDS = 60.0  # without a line of the log, until the job is looked at again


class LostError(BusyError):
    """The pods of a job are gone, or gave up for now: it goes on from its checkpoint when it is made again."""


def train_on_cluster(snapshot: Path, table: Path, architecture: str, size: str, seed: int, bundle: Path, curve: Path) -> str:
    """Writes the bundle and the loss curve that a TrainJob makes; returns the bundle's digest.

    Raises the `InputError` or `RefusedError` that ended the training, and `BusyError` when a later try may succeed.
    """
    from models.bundle import verify

    name = job_name(snapshot, table, architecture, size, seed)
    place = settings().root / "training" / name
    made = {"bundle": place / "bundle", "curve": place / "curve.jsonl"}
    if not made["bundle"].exists():
        read = {"snapshot": _shared(snapshot, place / "snapshot"), "table": _shared(table, place / "table")}
        shape = {"architecture": architecture, "size": size, "seed": seed}
        TrainJob(name).train([word for key, value in {**read, **shape, **made}.items() for word in (f"--{key}", str(value))])
        if not _appears(made["bundle"]):
            raise GoodsightError(f"The TrainJob {name} left no bundle in {place}.", "Do its pods mount the home of this step?")
        for copied in ("snapshot", "table"):
            shutil.rmtree(place / copied, ignore_errors=True)
    _copy(made["bundle"], bundle)
    _copy(made["curve"], curve)
    return verify(bundle)


def job_name(snapshot: Path, table: Path, architecture: str, size: str, seed: int) -> str:
    """The name of the job that trains on these inputs with this code, 25 characters."""
    from catalogue.snapshot import Snapshot

    inputs = [Snapshot.open(snapshot).digest, sha256_folder(table), architecture, size, seed, code_digest("models.pretraining")]
    return f"pretrain-{sha256_json(inputs)[:16]}"


def _shared(path: Path, place: Path) -> Path:
    """`path` where it is under home, which every pod mounts, else a copy of it there."""
    if path.resolve().is_relative_to(settings().root):
        return path.resolve()
    if not place.exists():
        _copy(path, place)
    return place


def _appears(path: Path) -> bool:
    """Whether what another machine wrote is there: a shared volume may show it late."""
    waiting = Retrying(
        retry=retry_if_result(lambda there: not there),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(APPEAR_SECONDS),
        retry_error_callback=lambda _: False,
    )
    return waiting(path.exists)


def _copy(source: Path, target: Path) -> None:
    """Copies a file or a folder whole."""
    if source.is_dir():
        with whole_folder(target) as aside:
            shutil.copytree(source, aside, dirs_exist_ok=True)
    else:
        with whole_file(target) as aside:
            shutil.copyfile(source, aside)


class TrainJob:
    """One TrainJob of the namespace, by its name, whether it is there yet or not."""

    def __init__(self, name: str) -> None:
        """Raises `InputError` when no cluster is configured."""
        self.name, self.namespace = name, settings().namespace
        self.client = _connected()
        self._printed: dict[str, int] = {}  # pod -> lines of its log
        self._ended: set[str] = set()  # pods whose log is printed to its end
        self._warned = ""

    def train(self, arguments: list[str]) -> None:
        """Runs `components.trainer` with `arguments` to its end, and deletes the job.

        A job of this name that runs already is followed. Raises what ended the training; cancelled, deletes the job first.
        """
        again = Retrying(
            retry=retry_if_exception_type(LostError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(max=LONGEST_WAIT_SECONDS),
            before_sleep=_tell_of_next,
            reraise=True,
        )
        with self._deleted_when_cancelled():
            again(self._try, arguments)
            self._delete()

    def _try(self, arguments: list[str]) -> None:
        found = self._get()
        if found and _state(found) == "Failed" and found["metadata"].get("labels", {}).get(RUN) == _run():
            error = self._failure()
            if not isinstance(error, LostError):
                raise error
        if found and _state(found):
            self._delete()
            self._until_gone()
            found = None
        if found:
            note(f"Following the TrainJob {self.name}, which runs already.")
        else:
            self._until_gone()
            self._create(arguments)
        if self._follow() == "Failed":
            raise self._failure()

    def _create(self, arguments: list[str]) -> None:
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options import Labels, Name, TrainerCommand

        wanted, runtime = settings(), self._runtime()
        processes = max(1, wanted.train_gpus)
        command = ["python", "-m", "components.trainer", "--processes", str(processes), *arguments]
        resources = {"cpu": str(wanted.train_cpus), "memory": wanted.train_memory}  # the SDK would send numbers as 4.0
        if wanted.train_gpus:
            resources["gpu"] = str(wanted.train_gpus)
        threads = str(max(1, wanted.train_cpus // processes))
        environment = {"GOODSIGHT_HOME": str(wanted.root), "GOODSIGHT_THREADS": threads, "OMP_NUM_THREADS": threads, RUN_ID: _run()}
        trainer = CustomTrainerContainer(wanted.train_image, wanted.train_nodes, resources, environment)
        labels = {"app.kubernetes.io/name": "goodsight", "app.kubernetes.io/component": "train", RUN: _run()}
        options = [Name(self.name), Labels(labels), TrainerCommand(command), *_node_selection(wanted.train_node_selector)]
        with contextlib.suppress(ConflictError):  # another try of this step was first
            asked(self.client.train, runtime, trainer=trainer, options=options)
        gpus = f" with {wanted.train_gpus} GPUs each" if wanted.train_gpus else ""
        note(f"Made the TrainJob {self.namespace}/{self.name}: {wanted.train_nodes} pods{gpus}.")

    def _runtime(self) -> Runtime:
        """The TrainingRuntime of the namespace, for the SDK, which by itself reads none whose container limits memory alone."""
        from kubeflow.trainer.types.types import Runtime, RuntimeKind, RuntimeTrainer, TrainerType

        name = settings().train_runtime
        try:
            asked(self.client.backend.custom_api.get_namespaced_custom_object, *API, self.namespace, "trainingruntimes", name)
        except NotFoundError as error:
            missing = f"{self.namespace} has no TrainingRuntime {name}, or the cluster no Kubeflow Trainer."
            raise InputError(missing, "Apply an overlay of k8s/, or set GOODSIGHT_TRAIN_RUNTIME.") from error
        trainer = RuntimeTrainer(TrainerType.CUSTOM_TRAINER, framework="torch", image=settings().train_image)
        return Runtime(name, trainer, RuntimeKind.TRAINING_RUNTIME)

    def _get(self) -> dict[str, Any] | None:
        with contextlib.suppress(NotFoundError):
            return asked(self.client.backend.custom_api.get_namespaced_custom_object, *API, self.namespace, JOBS, self.name)
        return None

    def _delete(self) -> None:
        with contextlib.suppress(NotFoundError):
            asked(self.client.delete_job, self.name)

    def _pods(self) -> list[Any]:
        """Its pods, the newest first."""
        found = asked(self.client.backend.core_api.list_namespaced_pod, self.namespace, label_selector=OF_JOB.format(self.name))
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def _until_gone(self) -> None:
        """Waits for the pods of the job before: two jobs must not write one checkpoint. Raises `LostError` when they stay."""
        waiting = Retrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(POLL_SECONDS),
            stop=stop_after_delay(PATIENCE_SECONDS),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
        )
        if left := waiting(self._pods):
            raise LostError(f"The pod {left[0].metadata.name} of the job before does not go.", "Is its node lost? Then delete the node.")

    def _follow(self) -> str:
        """Prints the log of the first node until the job ends; returns how, `Complete` or `Failed`. Raises `LostError` when it is gone."""
        return Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(POLL_SECONDS))(self._look)

    def _look(self) -> str:
        pod = next((pod for pod in self._pods() if pod.metadata.labels.get(RANK) == "0"), None)
        if pod is None or pod.status.phase == "Pending":
            self._warn_of_events()
        elif pod.metadata.name not in self._ended:
            self._print_log(pod.metadata.name)
            if pod.status.phase in ("Succeeded", "Failed"):
                self._ended.add(pod.metadata.name)
        now = self._get()
        if now is None:
            raise LostError(f"The TrainJob {self.name} was deleted.", "The next try goes on from its checkpoint.")
        return _state(now)

    def _print_log(self, pod: str) -> None:
        """Prints what the pod says until it ends or falls quiet; an error is not printed, since this step will raise it."""
        for number, line in enumerate(self._log(pod, follow=True)):
            if number >= self._printed.setdefault(pod, 0):
                self._printed[pod] += 1
                if (parse(line) or {}).get("kind") != "error":
                    print(line, flush=True)

    def _log(self, pod: str, follow: bool = False) -> Iterator[str]:
        """The lines of a pod's log; what cannot be read is left out."""
        from kubernetes.client import ApiException
        from kubernetes.watch import Watch
        from urllib3.exceptions import HTTPError

        read = self.client.backend.core_api.read_namespaced_pod_log
        with contextlib.suppress(ApiException, HTTPError):
            if follow:
                yield from Watch().stream(read, pod, self.namespace, container=NODE, _request_timeout=(10, QUIET_SECONDS))
            else:
                yield from read(pod, self.namespace, container=NODE, tail_lines=50).splitlines()

    def _warn_of_events(self) -> None:
        """Says once why the pods do not start: no node has room, the image cannot be pulled, the quota is used up."""
        events: list[Any] = []
        with contextlib.suppress(InputError):  # a role that may not read events loses no more than them
            events = asked(self.client.backend.core_api.list_namespaced_event, self.namespace).items
        bad = [each for each in events if each.type == "Warning" and each.involved_object.name.startswith(self.name)]
        last = max(bad, key=lambda each: str(each.last_timestamp or each.event_time or ""), default=None)
        if last and (told := f"{last.reason}: {last.message}") != self._warned:
            self._warned = told
            warn(f"The TrainJob {self.name} waits. {told}")

    def _failure(self) -> GoodsightError:
        """Why the job failed. A pod that gave up for now, was killed or is gone makes it a `LostError`."""
        pods = [(pod.metadata.name, each) for pod in self._pods() for each in pod.status.container_statuses or []]
        failed = [(pod, each.state.terminated) for pod, each in pods if each.name == NODE and _failed(each)]
        for pod, state in failed:
            if state.reason == "OOMKilled":
                memory = settings().train_memory
                return InputError(f"{pod} needs more memory than {memory}.", "Raise GOODSIGHT_TRAIN_MEMORY, or train on more nodes.")
            if state.exit_code in (EXIT_BAD_INPUT, EXIT_REFUSED):
                return self._told(pod, state.exit_code)
        lost = [pod for pod, state in failed if state.exit_code == EXIT_RETRY or state.exit_code >= 128]
        if lost or not failed:
            what = f"{', '.join(lost)} stopped" if lost else f"The pods of the TrainJob {self.name} are gone"
            return LostError(f"{what} before the training ended.", "The next try goes on from its checkpoint.")
        pod, state = failed[0]
        return self._told(pod, state.exit_code)

    def _told(self, pod: str, status: int) -> GoodsightError:
        """The error that the pod told last, as it was raised there."""
        lines = list(self._log(pod))
        events = [event for line in lines if (event := parse(line)) and event["kind"] == "error"]
        if events:
            return ERRORS.get(events[-1]["type"], GoodsightError)(events[-1]["message"], events[-1]["hint"])
        kind = {EXIT_BAD_INPUT: InputError, EXIT_REFUSED: RefusedError}.get(status, GoodsightError)
        last = next((line for line in reversed(lines) if line.strip()), "It left no log.")
        return kind(f"{pod} ended with status {status}: {last}", f"kubectl logs --namespace {self.namespace} {pod}")

    @contextlib.contextmanager
    def _deleted_when_cancelled(self) -> Iterator[None]:
        """A SIGTERM or a Ctrl-C deletes the job: its pods write a checkpoint and go."""

        def stop(signum: int, frame: FrameType | None) -> None:
            raise Cancelled

        here = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, stop) if here else None
        try:
            yield
        except (Cancelled, KeyboardInterrupt) as cancelled:
            self._delete()
            if isinstance(cancelled, KeyboardInterrupt):
                raise
            raise BusyError(f"Cancelled; the TrainJob {self.name} is deleted.", "The same command goes on from its checkpoint.") from None
        finally:
            if here:
                signal.signal(signal.SIGTERM, before)


def delete_jobs_of(run: str) -> list[str]:
    """Deletes the TrainJobs that a run of the pipeline left behind, whatever ended it; returns their names."""
    client, label = _connected(), f"{RUN}={run}"
    listed = client.backend.custom_api.list_namespaced_custom_object
    names = [each["metadata"]["name"] for each in asked(listed, *API, settings().namespace, JOBS, label_selector=label)["items"]]
    for name in names:
        asked(client.delete_job, name)
    return names


def _connected() -> TrainerClient:
    from kubeflow.common.types import KubernetesBackendConfig
    from kubeflow.trainer import TrainerClient
    from kubernetes.config import ConfigException

    logging.getLogger("kubeflow").setLevel(logging.ERROR)  # it warns where RBAC lets it see the namespace alone
    try:
        return TrainerClient(KubernetesBackendConfig(namespace=settings().namespace))
    except ConfigException as error:
        hint = "Run in a pod, set KUBECONFIG, or unset GOODSIGHT_TRAIN_RUNTIME."
        raise InputError(f"No cluster to train on: {error}", hint) from error


class Cancelled(BaseException):
    """A SIGTERM came."""


def _state(job: dict[str, Any]) -> str:
    """`Complete`, `Failed`, or empty while the job goes on."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((each["type"] for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True"), "")


def _failed(container: Any) -> bool:
    return bool(container.state.terminated and container.state.terminated.exit_code)


def _run() -> str:
    return os.environ.get(RUN_ID, "")


def _tell_of_next(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    warn(f"{getattr(error, 'message', error)} The job is made again: try {state.attempt_number + 1} of {ATTEMPTS}.")


def _node_selection(labels: str) -> list[Any]:
    """Options of the SDK that send the pods to nodes with these labels (`name=value,...`)."""
    from kubeflow.trainer import options as sdk

    if not labels:
        return []
    pod = sdk.PodSpecPatch(node_selector=dict(each.split("=", 1) for each in labels.split(",")))
    job = sdk.JobTemplatePatch(spec=sdk.JobSpecPatch(template=sdk.PodTemplatePatch(spec=pod)))
    jobs = sdk.JobSetTemplatePatch(spec=sdk.JobSetSpecPatch(replicated_jobs=[sdk.ReplicatedJobPatch(NODE, job)]))
    return [sdk.RuntimePatch(sdk.TrainingRuntimeSpecPatch(template=jobs))]
