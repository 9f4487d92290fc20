"""The manifests of an overlay: rendering, and what the checks ask of them: objects by kind and name, and pods whoever makes them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parents[1]
OVERLAYS = sorted(path.parent.name for path in HERE.glob("overlays/*/kustomization.yaml"))
CLUSTER_WIDE = ("Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding", "StorageClass", "PersistentVolume")
NEEDS = "kubectl 1.27 or newer, or kustomize 5 (https://kubernetes.io/docs/tasks/tools/)"


@dataclass(frozen=True)
class Fault:
    """Something wrong: in which object, against which rule, what was seen, and what to do."""

    where: str
    rule: str
    seen: str
    todo: str


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes: `kind` and `name` are those of the object, `spec` that of the pod."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    lasting: bool  # it is to run until it is told to stop

    @property
    def where(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Its containers, those that only prepare it included."""
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]

    @property
    def lasting_containers(self) -> list[dict[str, Any]]:
        """Those that stay up as long as the pod: sidecars are init containers that start always."""
        sidecars = [each for each in self.spec.get("initContainers", []) if each.get("restartPolicy") == "Always"]
        return [*sidecars, *self.spec.get("containers", [])] if self.lasting else []


@dataclass
class Manifests:
    """The objects of one overlay, and what they may name without defining it (`k8s/external.yaml`): kind -> name -> keys."""

    objects: list[dict[str, Any]]
    external: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [each for each in self.objects if each.get("kind") in kinds]

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def pods(self) -> Iterator[Pod]:
        """The pods of all workloads; of what Kubeflow Pipelines makes nothing is known here."""
        for each in self.objects:
            kind, name, spec = each.get("kind", ""), each.get("metadata", {}).get("name", ""), each.get("spec") or {}
            if kind in ("Deployment", "StatefulSet", "DaemonSet"):
                yield _pod(kind, name, spec["template"], lasting=True)
            elif kind == "Job":
                yield _pod(kind, name, spec["template"])
            elif kind == "CronJob":
                yield _pod(kind, name, spec["jobTemplate"]["spec"]["template"])
            elif kind == "Pod":
                yield _pod(kind, name, each, lasting=True)
            elif kind in ("TrainingRuntime", "ClusterTrainingRuntime"):
                for job in spec["template"]["spec"]["replicatedJobs"]:
                    yield _pod(kind, name, job["template"]["spec"]["template"])
            elif kind == "InferenceService":
                for part in spec.values():  # predictor, transformer, explainer: a pod's fields and a few of KServe's
                    yield _pod(kind, name, {"metadata": {"labels": part.get("labels", {})}, "spec": part}, lasting=True)

    def pods_with(self, selector: dict[str, Any]) -> list[Pod]:
        return [pod for pod in self.pods() if selects(selector, pod.labels)]


def _pod(kind: str, name: str, template: dict[str, Any], lasting: bool = False) -> Pod:
    return Pod(kind, name, template.get("metadata", {}).get("labels", {}), template["spec"], lasting)


def where(each: dict[str, Any]) -> str:
    """`Kind/name` of an object."""
    return f"{each.get('kind', 'no kind')}/{(each.get('metadata') or {}).get('name', 'no name')}"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions`; empty: everything) holds of these labels."""
    wanted = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return wanted and all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def render(overlay: str) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would send. Raises `RuntimeError` that says what is missing or where the overlay is wrong."""
    folder = HERE / "overlays" / overlay
    if not folder.is_dir():
        raise RuntimeError(f"There is no overlay {overlay}; there are {', '.join(OVERLAYS)}.")
    programs = [["kubectl", "kustomize"], ["kustomize", "build"]]
    command = next((command for command in programs if shutil.which(command[0])), None)
    if command is None:
        raise RuntimeError(f"Neither kubectl nor kustomize is here. Install {NEEDS}.")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip()[-1000:]
        raise RuntimeError(f"`{' '.join(command)}` cannot render {overlay}; it takes {NEEDS}. It said:\n{told}")
    return [_present(each) for each in yaml.safe_load_all(done.stdout) if each]


def _present(value: Any) -> Any:
    """`value` without its nulls, which Kubernetes takes for absent."""
    if isinstance(value, dict):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    return [_present(inner) for inner in value] if isinstance(value, list) else value


def external() -> dict[str, dict[str, list[str]]]:
    """What `k8s/external.yaml` declares."""
    declared: dict[str, dict[str, list[str]]] = yaml.safe_load((HERE / "external.yaml").read_text())
    return declared
