"""A Kubernetes API on a local port with as much of the Kubeflow Trainer as TrainJobs need: their pods are real processes.

Jobs, pods, logs and events are kept as a cluster keeps them: a pod that failed stays with its log, the others of its job are
ended by SIGTERM and go, and a job that is deleted goes at once while its pods take their time. Where GOODSIGHT_TEST_CLUSTER
is set, one test goes to the cluster that KUBECONFIG names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import yaml
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.digests import HOUSE

TOKEN = "a-token-that-nobody-may-print"
GROUP = "/apis/trainer.kubeflow.org/v1alpha1"
TRAIN_JOB = re.compile(r"/namespaces/[\w-]+/trainjobs(?:/([\w.-]+))?$")
RUNTIME = re.compile(r"/(?:namespaces/[\w-]+/trainingruntimes|clustertrainingruntimes)/([\w.-]+)$")
PODS = re.compile(r"^/api/v1/namespaces/[\w-]+/pods(?:/([\w.-]+)(/log)?)?$")
EVENTS = re.compile(r"^/api/v1/namespaces/[\w-]+/events$")
OURS = ("GOODSIGHT_", "PET_", "KUBECONFIG")  # a pod has no environment of the machine that asked for it
GRACE_SECONDS = 120


def runtime() -> dict[str, Any]:
    """The TrainingRuntime of our manifests."""
    documents = yaml.safe_load_all((HOUSE / "k8s" / "base" / "training.yaml").read_text())
    return next(each for each in documents if each["kind"] == "TrainingRuntime")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    """A pod and, once it is scheduled, its process."""

    name: str
    job: str
    node: int
    log: Path
    command: list[str]
    environment: dict[str, str]
    created: str = field(default_factory=now)
    process: subprocess.Popen[bytes] | None = None
    reason: str = ""  # why its container ended, where Kubernetes knows more than the status
    going: bool = False

    def start(self) -> None:
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=out, stderr=out, start_new_session=True)

    @property
    def status(self) -> int | None:
        """The exit status as Kubernetes tells it, None while it runs."""
        code = self.process.poll() if self.process else None
        return 128 - code if code is not None and code < 0 else code

    @property
    def phase(self) -> str:
        if self.process is None:
            return "Pending"
        return {None: "Running", 0: "Succeeded"}.get(self.status, "Failed")

    def signal(self, number: signal.Signals) -> None:
        """To the first process, as the kubelet does; SIGKILL to all of the container's."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number) if number == signal.SIGKILL else self.process.send_signal(number)

    def end(self) -> None:
        """What a deletion does: SIGTERM, and SIGKILL after the grace period."""
        self.signal(signal.SIGTERM)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_SECONDS)
            self.signal(signal.SIGKILL)
            self.process.wait()

    def to_json(self) -> dict[str, Any]:
        state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
        if self.process:
            state = {"running": {"startedAt": self.created}}
        if self.status is not None:
            state = {"terminated": {"exitCode": self.status, "reason": self.reason or ("Error" if self.status else "Completed")}}
        labels = {
            "jobset.sigs.k8s.io/jobset-name": self.job,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(self.node),
        }
        container = {"name": "node", "image": "image", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        return {
            "metadata": {"name": self.name, "namespace": "goodsight", "labels": labels, "creationTimestamp": self.created},
            "spec": {"containers": [{"name": "node", "image": "image"}]},
            "status": {"phase": self.phase, "containerStatuses": [container]},
        }


class Cluster:
    """The API server and the controller. `held` keeps pods pending; `faults` are answers that come before the right ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtimes = {"goodsight-torch": runtime()}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.made: list[dict[str, Any]] = []  # every TrainJob that was ever created
        self.pods: dict[str, Pod] = {}
        self.events: list[dict[str, Any]] = []
        self.faults: list[int] = []
        self.refused: dict[str, int] = {}  # method -> status
        self.follows = self.lists = 0  # how often a log was followed, and pods were listed
        self.held = False
        self.program: list[str] = []  # what pods run instead of their command
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for pod in list(self.pods.values()):
            pod.signal(signal.SIGKILL)

    def kubeconfig(self) -> Path:
        """A configuration that leads here, with a token."""
        path = self.folder / "kubeconfig.yaml"
        server = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "goodsight"}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def wait_for(self, what: Callable[[], Any], seconds: float = 60) -> Any:
        """What `what` gives once it is true. Raises `RetryError` when it is not in time."""
        return Retrying(retry=retry_if_result(lambda found: not found), wait=wait_fixed(0.05), stop=stop_after_delay(seconds))(what)

    def running(self, node: int = 0, saying: str = "") -> Pod:
        """Waits for a pod that runs as this node and has said something."""

        def find() -> Pod | None:
            pods = [pod for pod in self.pods.values() if pod.node == node and pod.phase == "Running" and not pod.going]
            return next((pod for pod in pods if saying in pod.log.read_text(errors="replace")), None)

        return self.wait_for(find)

    def lose(self, pod: Pod) -> None:
        """The node of a pod is gone, and so is the pod."""
        pod.going = True
        pod.signal(signal.SIGKILL)
        if pod.process:
            pod.process.wait()
        with self._lock:
            del self.pods[pod.name]

    def warn(self, name: str, reason: str, message: str) -> None:
        about = {"kind": "Pod", "name": name, "namespace": "goodsight"}
        metadata = {"name": f"{name}.{len(self.events)}", "namespace": "goodsight"}
        told = {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": now()}
        self.events.append({"metadata": metadata, "involvedObject": about, **told})

    def release(self) -> None:
        """Schedules the pods that wait."""
        with self._lock:
            self.held = False
            for pod in self.pods.values():
                if pod.process is None:
                    pod.start()

    def create(self, job: dict[str, Any]) -> dict[str, Any]:
        name = job["metadata"]["name"]
        with self._lock:
            job["metadata"] |= {"namespace": "goodsight", "creationTimestamp": now(), "uid": f"uid-{len(self.made)}"}
            self.jobs[name] = job
            self.made.append(job)
            pods = self._pods_of(job)
            self.pods |= {pod.name: pod for pod in pods}
            if not self.held:
                for pod in pods:
                    pod.start()
        threading.Thread(target=self._control, args=(job, pods), daemon=True).start()
        return job

    def _pods_of(self, job: dict[str, Any]) -> list[Pod]:
        name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
        given = {each["name"]: each["value"] for each in trainer.get("env", [])}
        machine = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        command = self.program or [sys.executable if word == "python" else word for word in trainer["command"]]
        nodes, port = trainer.get("numNodes", 1), free_port()
        pods = []
        for node in range(nodes):
            torch = {"PET_NNODES": f"{nodes}", "PET_NPROC_PER_NODE": "auto", "PET_NODE_RANK": f"{node}", "PET_MASTER_ADDR": "127.0.0.1"}
            environment = {**machine, "PYTHONPATH": str(HOUSE), **given, **torch, "PET_MASTER_PORT": f"{port}"}
            unique = f"{name}-node-0-{node}-{len(self.made):05d}"
            pods.append(Pod(unique, name, node, self.folder / f"{unique}.log", command, environment))
        return pods

    def _control(self, job: dict[str, Any], pods: list[Pod]) -> None:
        """Ends the job as the controller does: at the first failure, or when all pods have succeeded."""

        def ended() -> bool:
            phases = {pod.phase for pod in pods}
            return "Failed" in phases or phases == {"Succeeded"} or self.jobs.get(job["metadata"]["name"]) is not job

        self.wait_for(ended, seconds=600)
        if self.jobs.get(job["metadata"]["name"]) is not job:
            return
        complete = all(pod.phase == "Succeeded" for pod in pods)
        self._go([pod for pod in pods if pod.phase in ("Pending", "Running")])
        kind = "Complete" if complete else "Failed"
        condition = {"type": kind, "status": "True", "reason": f"Jobs{kind}", "message": f"jobset {kind}", "lastTransitionTime": now()}
        job["status"] = {"conditions": [condition]}

    def delete(self, name: str) -> dict[str, Any]:
        with self._lock:
            job = self.jobs.pop(name)
        threading.Thread(target=self._go, args=([pod for pod in self.pods.values() if pod.job == name],), daemon=True).start()
        return job

    def _go(self, pods: list[Pod]) -> None:
        for pod in pods:
            pod.going = True
        threads = [threading.Thread(target=pod.end) for pod in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            for pod in pods:
                self.pods.pop(pod.name, None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _with(selector: str, objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that have all labels of `NAME=VALUE,...`."""
    wanted = dict(each.split("=") for each in selector.split(","))
    return [each for each in objects if wanted.items() <= each["metadata"].get("labels", {}).items()]


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, value: Any, status: int = 200) -> None:
            body = json.dumps(value).encode() if not isinstance(value, str) else value.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if not isinstance(value, str) else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refuse(self, status: int, message: str) -> None:
            self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}, status)

        def stands(self) -> bool:
            """Whether the request may go on: it knows the token, and no fault is due."""
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.refuse(401, "Unauthorized")
            elif cluster.faults:
                self.refuse(cluster.faults.pop(0), "etcd leader changed")
            elif self.command in cluster.refused:
                self.refuse(cluster.refused[self.command], f"{self.command} is forbidden")
            else:
                return True
            return False

        def do_GET(self) -> None:
            if not self.stands():
                return
            url = urlparse(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            if found := PODS.match(url.path):
                return self.pods(query, *found.groups())
            if EVENTS.match(url.path):
                return self.answer({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": cluster.events})
            if url.path.startswith(GROUP):
                job, kind = TRAIN_JOB.search(url.path), RUNTIME.search(url.path)
                kept = cluster.jobs if job else cluster.runtimes if kind and "clustertraining" not in url.path else {}
                name = (job or kind).group(1) if job or kind else None
                if job and name is None:
                    found = _with(query["labelSelector"], cluster.jobs.values())
                    return self.answer({"kind": "TrainJobList", "metadata": {}, "items": found})
                if name in kept:
                    return self.answer(kept[name])
            return self.refuse(404, f"{url.path} not found")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.stands():
                return
            if not TRAIN_JOB.search(urlparse(self.path).path):
                return self.refuse(404, f"{self.path} not found")
            if body["metadata"]["name"] in cluster.jobs:
                return self.refuse(409, f'trainjobs "{body["metadata"]["name"]}" already exists')
            return self.answer(cluster.create(body), 201)

        def do_DELETE(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not self.stands():
                return
            found = TRAIN_JOB.search(urlparse(self.path).path)
            if not found or found.group(1) not in cluster.jobs:
                return self.refuse(404, f"{self.path} not found")
            return self.answer(cluster.delete(found.group(1)))

        def pods(self, query: dict[str, str], name: str | None, log: str | None) -> None:
            if name is None:
                cluster.lists += 1
                items = _with(query["labelSelector"], [pod.to_json() for pod in list(cluster.pods.values())])
                return self.answer({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
            pod = cluster.pods.get(name)
            if pod is None or not log:
                return self.refuse(404, f'pods "{name}" not found')
            if pod.process is None:
                return self.refuse(400, f'container "node" in pod "{name}" is waiting to start: ContainerCreating')
            if query.get("follow", "").lower() == "true":
                return self.follow(pod)
            lines = pod.log.read_text(errors="replace").splitlines(keepends=True)
            return self.answer("".join(lines[-int(query.get("tailLines", len(lines) + 1)) :]))

        def follow(self, pod: Pod) -> None:
            cluster.follows += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with open(pod.log, "rb") as file, contextlib.suppress(OSError):
                ended = False
                while not ended:
                    ended = pod.process is not None and pod.process.poll() is not None
                    if data := file.read():
                        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                        self.wfile.flush()
                    if not ended:
                        threading.Event().wait(0.02)
                self.wfile.write(b"0\r\n\r\n")

    return Handler


@contextlib.contextmanager
def cluster_at(folder: Path) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, with its pods."""
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


def real_cluster() -> bool:
    """Whether the tests shall use the cluster that KUBECONFIG names."""
    return bool(os.environ.get("KUBECONFIG") and os.environ.get("GOODSIGHT_TEST_CLUSTER"))
