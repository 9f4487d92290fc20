"""What objects say of each other: selectors that select, ports that are there, names that are defined or declared to be elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checks.manifests import Fault, Manifests, Pod, selects, where

BROAD = ("*", "escalate", "bind", "impersonate")  # verbs that give more than they name


def selectors(manifests: Manifests) -> Iterator[Fault]:
    """Workloads that would not own their pods, and Services, budgets and constraints that select none."""
    for each in manifests.of("Deployment", "StatefulSet", "DaemonSet"):
        labels = each["spec"]["template"].get("metadata", {}).get("labels", {})
        if not selects(each["spec"].get("selector", {}), labels):
            yield Fault(where(each), "selector", f"{each['spec'].get('selector')} against {labels}", "Select labels that its pods have.")
    for each in manifests.of("Service"):
        wanted = each["spec"].get("selector")
        if wanted and not manifests.pods_with({"matchLabels": wanted}):
            yield Fault(where(each), "selector", f"{wanted} selects no pod", "Select labels that pods have.")
    for each in manifests.of("PodDisruptionBudget"):
        if not manifests.pods_with(each["spec"].get("selector", {})):
            yield Fault(where(each), "disruption-budget", f"{each['spec'].get('selector')} selects no pod", "Select labels that pods have.")
    for pod in manifests.pods():
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not selects(spread.get("labelSelector", {}), pod.labels):
                yield Fault(pod.where, "selector", f"spread by labels it has not: {spread.get('labelSelector')}", "Select its own labels.")


def ports(manifests: Manifests) -> Iterator[Fault]:
    """Ports beyond 65535, and Services that lead to ports that no container has."""
    for each in manifests.objects:
        for path, port in _ports(each, ""):
            if not 1 <= port <= 65535:
                yield Fault(where(each), "port-range", f"{path} is {port}", "A port is 1 to 65535.")
    for each in manifests.of("Service"):
        pods = manifests.pods_with({"matchLabels": each["spec"].get("selector", {})})
        for port in each["spec"].get("ports", []):
            target = port.get("targetPort", port.get("port"))
            if pods and not any(target in _open(pod) for pod in pods):
                seen = f"port {port.get('port')} leads to {target}, which no container has"
                yield Fault(where(each), "target-port", seen, "Name a port of the pods it selects.")


def _ports(value: Any, path: str) -> Iterator[tuple[str, int]]:
    """The path and number of every port within a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, int) and not isinstance(inner, bool) and (key == "port" or key.endswith("Port")):
                yield f"{path}{key}", inner
            yield from _ports(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _ports(inner, f"{path}{number}.")


def _open(pod: Pod) -> set[object]:
    declared = [port for container in pod.containers for port in container.get("ports", [])]
    return {port.get("name") for port in declared} | {port.get("containerPort") for port in declared}


def scaling(manifests: Manifests) -> Iterator[Fault]:
    """Autoscalers of what is not there, or that fight with a fixed number of replicas."""
    for each in manifests.of("HorizontalPodAutoscaler"):
        wanted = each["spec"].get("scaleTargetRef", {})
        target = manifests.find(str(wanted.get("kind")), str(wanted.get("name")))
        if target is None:
            yield Fault(where(each), "scale-target", f"no {wanted.get('kind')}/{wanted.get('name')}", "Name a workload of the overlay.")
        elif "replicas" in target["spec"]:
            seen = f"{where(target)} sets replicas too"
            yield Fault(where(each), "scale-target", seen, "Leave replicas out: each apply would undo the scaling.")
        if each["spec"].get("minReplicas", 1) > each["spec"].get("maxReplicas", 1):
            yield Fault(where(each), "scale-target", "minReplicas is above maxReplicas", "Correct one of them.")


def policies(manifests: Manifests) -> Iterator[Fault]:
    """Network policies that select no pod, let in no one, or open a port that is not there; and a namespace open by default."""
    outside = [dict.fromkeys(labels, "") for labels in manifests.external.get("Pod", {}).values()]
    inside = [pod.labels for pod in manifests.pods()]

    def someone(selector: dict[str, Any]) -> bool:
        return any(selects(selector, labels) for labels in (*inside, *outside))

    for each in manifests.of("NetworkPolicy"):
        spec = each["spec"]
        rules = [*spec.get("ingress", []), *spec.get("egress", [])]
        peers = [peer for rule in rules for peer in (*rule.get("from", []), *rule.get("to", [])) if "namespaceSelector" not in peer]
        for selector in (spec.get("podSelector", {}), *(peer["podSelector"] for peer in peers if "podSelector" in peer)):
            if not someone(selector):
                yield Fault(where(each), "network-policy", f"{selector} selects no pod", "Select labels that pods have.")
        selected = manifests.pods_with(spec.get("podSelector", {}))
        for port in (port.get("port") for rule in spec.get("ingress", []) for port in rule.get("ports", [])):
            if not any(port in _open(pod) for pod in selected):
                yield Fault(where(each), "network-policy", f"opens port {port}, which no selected pod has", "Name a port of these pods.")
    if not any(_denies(each["spec"]) for each in manifests.of("NetworkPolicy")):
        for each in manifests.of("Namespace"):
            yield Fault(where(each), "network-policy", "nothing is denied by default", "Add one that selects all pods and allows nothing.")


def _denies(spec: dict[str, Any]) -> bool:
    both = set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}
    return both and not spec.get("podSelector") and not spec.get("ingress") and not spec.get("egress")


def rights(manifests: Manifests) -> Iterator[Fault]:
    """Rights beyond the namespace, or beyond what is named."""
    todo = "Name the resources and verbs of one namespace."
    for each in manifests.of("ClusterRole", "ClusterRoleBinding"):
        yield Fault(where(each), "rights", "holds in the whole cluster", todo)
    for each in manifests.of("Role"):
        for rule in each.get("rules", []):
            broad = [*(set(rule["verbs"]) & set(BROAD)), *(name for name in ("apiGroups", "resources") if "*" in rule.get(name, []))]
            if broad:
                yield Fault(where(each), "rights", f"{rule}", todo)


def references(manifests: Manifests) -> Iterator[Fault]:
    """Secrets, ConfigMaps, claims, accounts, roles and the like that are neither defined nor declared, and keys that they lack."""
    for place, kind, name, key in _named(manifests):
        found, declared = manifests.find(kind, name), manifests.external.get(kind, {}).get(name)
        if found is None and declared is None:
            yield Fault(place, "reference", f"{kind}/{name} is not there", "Define it, or declare it in k8s/external.yaml.")
        elif key and key not in (declared or ()) and key not in {**(found or {}).get("data", {}), **(found or {}).get("stringData", {})}:
            yield Fault(place, "reference", f"{kind}/{name} has no key {key}", "Name a key that it has.")
    for pod in manifests.pods():
        volumes = {each["name"] for each in pod.spec.get("volumes", [])}
        made = manifests.find(pod.kind, pod.name) or {}
        volumes |= {each["metadata"]["name"] for each in made.get("spec", {}).get("volumeClaimTemplates", [])}
        for mount in (mount for each in pod.containers for mount in each.get("volumeMounts", []) if mount["name"] not in volumes):
            yield Fault(pod.where, "reference", f"volume {mount['name']} is mounted and not there", "Add the volume.")


Named = tuple[str, str, str, str]  # where, kind, name, key or nothing


def _named(manifests: Manifests) -> Iterator[Named]:
    for pod in manifests.pods():
        yield from ((pod.where, *each) for each in _named_by(pod.spec))
    for each in manifests.of("RoleBinding"):
        yield where(each), each["roleRef"]["kind"], each["roleRef"]["name"], ""
        yield from ((where(each), subject["kind"], subject["name"], "") for subject in each.get("subjects", []))
    for each in manifests.of("Role"):
        for rule in each.get("rules", []):
            kinds = {"secrets": "Secret", "configmaps": "ConfigMap", "trainingruntimes": "TrainingRuntime"}
            for kind in (kinds[name] for name in rule.get("resources", []) if name in kinds):
                yield from ((where(each), kind, name, "") for name in rule.get("resourceNames", []))
    for each in manifests.of("PersistentVolumeClaim"):
        if name := each["spec"].get("storageClassName"):
            yield where(each), "StorageClass", name, ""
    for each in manifests.of("StatefulSet"):
        yield where(each), "Service", each["spec"].get("serviceName", ""), ""
    for each in manifests.of("ConfigMap"):
        if runtime := each.get("data", {}).get("GOODSIGHT_TRAIN_RUNTIME"):
            yield where(each), "TrainingRuntime", runtime, ""
    for each in manifests.of("TrainJob"):
        yield where(each), each["spec"]["runtimeRef"].get("kind", "ClusterTrainingRuntime"), each["spec"]["runtimeRef"]["name"], ""


def _named_by(spec: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key of what a pod names."""
    if name := spec.get("serviceAccountName"):
        yield "ServiceAccount", name, ""
    if name := spec.get("priorityClassName"):
        yield "PriorityClass", name, ""
    yield from (("Secret", each["name"], "") for each in spec.get("imagePullSecrets", []))
    for volume in spec.get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName", source["secret"].get("name", "")), ""
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"], ""
            if "persistentVolumeClaim" in source:
                yield "PersistentVolumeClaim", source["persistentVolumeClaim"]["claimName"], ""
    for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
        sources = [*container.get("envFrom", []), *(each.get("valueFrom", {}) for each in container.get("env", []))]
        for source in sources:
            for ref in ("secretRef", "configMapRef", "secretKeyRef", "configMapKeyRef"):
                if ref in source:
                    yield "Secret" if ref.startswith("secret") else "ConfigMap", source[ref]["name"], source[ref].get("key", "")
