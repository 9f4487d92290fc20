"""What every pod must have: probes, memory limits, GPUs in limits, the restricted Pod Security Standard, pinned images, known settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from checks.manifests import Fault, Manifests, Pod
from goodsight.errors import InputError

IMAGES = ("train", "pipeline", "serve", "gateway")  # of k8s/images
PROBES = ("readinessProbe", "livenessProbe")
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret")
UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000), "Ki": Decimal(1024)}
UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTP", 2)}
UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("MGTP", 2)}


def _in(container: dict[str, Any]) -> str:
    return f"container {container.get('name')}"


def probes(manifests: Manifests) -> Iterator[Fault]:
    """Containers that stay up without saying whether they are ready and alive, or that say it at a port they do not have."""
    for pod in manifests.pods():
        for container in pod.lasting_containers:
            for name in PROBES:
                if name not in container:
                    yield Fault(pod.where, "probe", f"{_in(container)} has no {name}", "Add one.")
            ports = {port for each in container.get("ports", []) for port in (each.get("name"), each["containerPort"])}
            for name in (*PROBES, "startupProbe"):
                asked = container.get(name, {}).get("httpGet") or container.get(name, {}).get("tcpSocket")
                if asked and asked.get("port") not in ports:
                    seen = f"{name} of {_in(container)} asks port {asked.get('port')}"
                    yield Fault(pod.where, "probe", seen, "Name a port that the container has.")


def resources(manifests: Manifests) -> Iterator[Fault]:
    """Containers that may take a node's memory, or whose GPUs are asked for and not limited, which Kubernetes refuses."""
    for pod in manifests.pods():
        for container in pod.containers:
            has = container.get("resources", {})
            requests, limits = has.get("requests", {}), has.get("limits", {})
            wanted = {"requests.cpu": requests.get("cpu"), "requests.memory": requests.get("memory"), "limits.memory": limits.get("memory")}
            for name in (name for name, value in wanted.items() if value is None):
                yield Fault(pod.where, "resources", f"{_in(container)} has no {name}", "Set it.")
            for name in sorted(set(requests) & set(limits)):
                if "/" not in name and amount(requests[name]) > amount(limits[name]):
                    seen = f"{_in(container)} requests {requests[name]} of {name}, more than its limit {limits[name]}"
                    yield Fault(pod.where, "resources", seen, "Raise the limit.")
            for name in sorted({name for name in (*requests, *limits) if "/" in name}):
                if limits.get(name) is None or requests.get(name, limits[name]) != limits[name]:
                    seen = f"{_in(container)} requests {requests.get(name)} of {name}, limit {limits.get(name)}"
                    yield Fault(pod.where, "gpu-limit", seen, "Set the limit; a request must equal it.")


def amount(quantity: object) -> Decimal:
    """A quantity of Kubernetes as a number: `500m` is 0.5, `2Gi` 2147483648."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(quantity))
    if not found or found[2] not in UNITS:
        return Decimal(0)
    return Decimal(found[1]) * UNITS[found[2]]


def security(manifests: Manifests) -> Iterator[Fault]:
    """What the Pod Security Standard "restricted" refuses; and root file systems that can be written, and accounts of no one."""
    todo = "The namespace enforces the Pod Security Standard `restricted`; copy the securityContext of base/serving.yaml."
    for pod in manifests.pods():
        seen = [*_pod_insecure(pod), *(fault for each in pod.containers for fault in _insecure(each, pod.spec.get("securityContext", {})))]
        yield from (Fault(pod.where, "security", each, todo) for each in seen)
        account = pod.spec.get("serviceAccountName", "default")
        if account == "default" or pod.spec.get("automountServiceAccountToken") is not False:
            seen_account = f"account {account}, automountServiceAccountToken {pod.spec.get('automountServiceAccountToken')}"
            yield Fault(pod.where, "account", seen_account, "Give it a ServiceAccount of its own, and no token it does not need.")


def _pod_insecure(pod: Pod) -> Iterator[str]:
    yield from (f"{name} is true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name))
    for volume in pod.spec.get("volumes", []):
        if kinds := set(volume) - {"name", *VOLUMES}:
            yield f"volume {volume.get('name')} is a {', '.join(sorted(kinds))}"


def _insecure(container: dict[str, Any], of_pod: dict[str, Any]) -> Iterator[str]:
    has = {**of_pod, **container.get("securityContext", {})}
    capabilities = has.get("capabilities", {})
    wrong = {
        "may run as root": has.get("runAsNonRoot") is not True or has.get("runAsUser") == 0,
        "is privileged": bool(has.get("privileged")),
        "may gain privileges": has.get("allowPrivilegeEscalation") is not False,
        "has no seccompProfile": has.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
        "keeps capabilities": "ALL" not in capabilities.get("drop", []) or bool(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}),
        "can write its root file system": has.get("readOnlyRootFilesystem") is not True,
        "takes a port of the node": any("hostPort" in port for port in container.get("ports", [])),
    }
    yield from (f"{_in(container)} {what}" for what, holds in wrong.items() if holds)


def images(manifests: Manifests) -> Iterator[Fault]:
    """Images that may change under their name; ours of two versions, or of other names than the settings have."""
    settings = _settings_of(manifests)
    ours: dict[str, set[str]] = {"pipeline": {settings.get("GOODSIGHT_IMAGE", "")}, "train": {settings.get("GOODSIGHT_TRAIN_IMAGE", "")}}
    for pod in manifests.pods():
        for container in pod.containers:
            image = str(container.get("image", ""))
            repository, _, tag = image.rpartition("@")[0].rpartition(":") if "@" in image else image.rpartition(":")
            if "@sha256:" not in image and (not repository or "/" in tag or tag == "latest"):
                yield Fault(pod.where, "image-tag", f"{_in(container)} runs {image}", "Name a version, or a digest.")
            elif repository.rpartition("/")[2] in IMAGES:
                ours.setdefault(repository.rpartition("/")[2], set()).add(image)
    for name, found in ours.items():
        if len(found) > 1:
            seen = f"{name} is {' and '.join(sorted(found))}"
            todo = "Give pods and the ConfigMap goodsight-settings the same image."
            yield Fault("ConfigMap/goodsight-settings", "image-name", seen, todo)
    if len(tags := {image.rpartition(":")[2] for found in ours.values() for image in found}) > 1:
        seen = f"versions {', '.join(sorted(tags))}"
        yield Fault("ConfigMap/goodsight-settings", "image-name", seen, "The four images are built together: give them one tag.")


def _settings_of(manifests: Manifests) -> dict[str, str]:
    found = manifests.find("ConfigMap", "goodsight-settings")
    return dict(found.get("data", {})) if found else {}


def settings(manifests: Manifests) -> Iterator[Fault]:
    """Variables GOODSIGHT_* that no setting reads or that have a wrong value, and Services whose variables would be read as settings."""
    from goodsight.settings import Settings

    known = {f"GOODSIGHT_{name.upper()}": name for name in Settings.model_fields}
    places = [(f"ConfigMap/{each['metadata']['name']}", each.get("data", {})) for each in manifests.of("ConfigMap")]
    for pod in manifests.pods():
        places += [(pod.where, {each["name"]: each.get("value")}) for one in pod.containers for each in one.get("env", [])]
    for place, variables in places:
        for name, value in variables.items():
            if name.startswith("GOODSIGHT_") and name not in known:
                yield Fault(place, "setting", f"{name} is no setting", "See the settings in docs/platform/README.md.")
            elif name in known and value is not None and (told := _wrong(known[name], value)):
                yield Fault(place, "setting", f"{name}={value}: {told}", "See the settings in docs/platform/README.md.")
    for each in manifests.of("Service", "InferenceService"):
        if (name := f"{each['metadata']['name'].upper().replace('-', '_')}_PORT") in known:
            seen = f"gives every pod a variable {name}"
            yield Fault(f"{each['kind']}/{each['metadata']['name']}", "setting", seen, "Name the Service otherwise.")


def _wrong(name: str, value: str) -> str:
    from pydantic import ValidationError

    from goodsight.settings import Settings

    try:
        Settings.model_validate({name: value})
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    except InputError as error:
        return error.message
    return ""
