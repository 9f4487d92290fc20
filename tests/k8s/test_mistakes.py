"""Each mistake that is planted in an overlay is found, by its rule and in its object."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from checks import found_in
from checks.manifests import Manifests, external

from tests.k8s.objects import Objects, find, gateway, torchserve, trainer

pytestmark = pytest.mark.kubectl


def wrong_selector(objects: Objects) -> None:
    find(objects, "Deployment/mlflow")["spec"]["selector"]["matchLabels"] = {"app": "mlflow"}


def service_of_no_pod(objects: Objects) -> None:
    find(objects, "Service/mlflow")["spec"]["selector"] = {"app.kubernetes.io/name": "mlfow"}


def no_memory_limit(objects: Objects) -> None:
    del gateway(objects)["resources"]["limits"]


def request_above_limit(objects: Objects) -> None:
    torchserve(objects)["resources"]["limits"]["memory"] = "900Mi"


def gpu_in_requests_alone(objects: Objects) -> None:
    del trainer(objects)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]


def privileged(objects: Objects) -> None:
    gateway(objects)["securityContext"]["privileged"] = True


def root(objects: Objects) -> None:
    trainer(objects)["securityContext"]["runAsUser"] = 0


def path_of_the_host(objects: Objects) -> None:
    trainer(objects)["volumes"][0] = {"name": "home", "hostPath": {"path": "/data"}}


def token_of_the_default_account(objects: Objects) -> None:
    pod = find(objects, "Deployment/mlflow")["spec"]["template"]["spec"]
    del pod["serviceAccountName"], pod["automountServiceAccountToken"]


def unknown_field(objects: Objects) -> None:
    gateway(objects)["livenesProbe"] = gateway(objects)["livenessProbe"]


def wrong_type(objects: Objects) -> None:
    find(objects, "Deployment/mlflow")["spec"]["replicas"] = "two"


def misspelt_field_of_the_runtime(objects: Objects) -> None:
    spec = find(objects, "TrainingRuntime/goodsight-torch")["spec"]
    spec["mlPolicy"]["numNode"] = spec["mlPolicy"].pop("numNodes")


def unknown_field_in_a_pod_of_the_runtime(objects: Objects) -> None:
    trainer(objects)["toleration"] = []


def unknown_action_of_the_runtime(objects: Objects) -> None:
    policy = find(objects, "TrainingRuntime/goodsight-torch")["spec"]["template"]["spec"]["failurePolicy"]
    policy["rules"][0]["action"] = "Restart"


def unknown_field_of_the_predictor(objects: Objects) -> None:
    find(objects, "InferenceService/shop")["spec"]["predictor"]["protocolVersion"] = "v2"


def kind_without_schema(objects: Objects) -> None:
    metadata = {"name": "serving", "namespace": "goodsight"}
    objects.append({"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": metadata, "spec": {}})


def old_api(objects: Objects) -> None:
    find(objects, "Deployment/watch")["apiVersion"] = "apps/v1beta1"


def port_out_of_range(objects: Objects) -> None:
    find(objects, "Service/serving")["spec"]["ports"][0]["port"] = 80800


def target_port_of_no_container(objects: Objects) -> None:
    find(objects, "Service/serving")["spec"]["ports"][0]["targetPort"] = "https"


def no_probe(objects: Objects) -> None:
    del torchserve(objects)["readinessProbe"]


def probe_of_no_port(objects: Objects) -> None:
    gateway(objects)["livenessProbe"]["httpGet"]["port"] = 8081


def latest(objects: Objects) -> None:
    find(objects, "Deployment/watch")["spec"]["template"]["spec"]["containers"][0]["image"] = "ghcr.io/goodsight/pipeline:latest"


def no_tag(objects: Objects) -> None:
    gateway(objects)["image"] = "registry.example:5000/goodsight/gateway"


def images_of_two_versions(objects: Objects) -> None:
    trainer(objects)["containers"][0]["image"] = "ghcr.io/goodsight/train:0.2.0"


def secret_of_nobody(objects: Objects) -> None:
    gateway(objects)["env"].append({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "godsight", "key": "token"}}})


def key_that_the_secret_lacks(objects: Objects) -> None:
    gateway(objects)["env"].append({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "goodsight", "key": "token"}}})


def no_config_map(objects: Objects) -> None:
    gateway(objects)["envFrom"][0]["configMapRef"]["name"] = "settings"


def no_claim(objects: Objects) -> None:
    trainer(objects)["volumes"][0]["persistentVolumeClaim"]["claimName"] = "home"


def no_volume(objects: Objects) -> None:
    gateway(objects)["volumeMounts"].append({"name": "cache", "mountPath": "/cache"})


def no_account(objects: Objects) -> None:
    objects.remove(find(objects, "ServiceAccount/trainer"))


def no_priority(objects: Objects) -> None:
    trainer(objects)["priorityClassName"] = "urgent"


def binding_of_no_role(objects: Objects) -> None:
    find(objects, "RoleBinding/train-jobs")["roleRef"]["name"] = "train-job"


def no_runtime(objects: Objects) -> None:
    find(objects, "ConfigMap/goodsight-settings")["data"]["GOODSIGHT_TRAIN_RUNTIME"] = "torch-distributed"


def rights_to_everything(objects: Objects) -> None:
    find(objects, "Role/train-jobs")["rules"][0]["verbs"] = ["*"]


def rights_in_the_cluster(objects: Objects) -> None:
    metadata = {"name": "goodsight"}
    objects.append({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": []})


def budget_of_no_pod(objects: Objects) -> None:
    find(objects, "PodDisruptionBudget/serving")["spec"]["selector"]["matchLabels"] = {"app.kubernetes.io/name": "gateway"}


def scaler_of_nothing(objects: Objects) -> None:
    find(objects, "HorizontalPodAutoscaler/serving")["spec"]["scaleTargetRef"]["name"] = "gateway"


def scaler_against_replicas(objects: Objects) -> None:
    find(objects, "Deployment/serving")["spec"]["replicas"] = 3


def policy_of_no_pod(objects: Objects) -> None:
    find(objects, "NetworkPolicy/serving-clients")["spec"]["podSelector"]["matchLabels"] = {"app": "serving"}


def policy_of_no_port(objects: Objects) -> None:
    find(objects, "NetworkPolicy/serving-clients")["spec"]["ingress"][0]["ports"][0]["port"] = 8080


def open_by_default(objects: Objects) -> None:
    objects.remove(find(objects, "NetworkPolicy/default-deny"))


def unknown_setting(objects: Objects) -> None:
    gateway(objects)["env"].append({"name": "GOODSIGHT_PORTS", "value": "8000"})


def setting_of_a_wrong_value(objects: Objects) -> None:
    find(objects, "ConfigMap/goodsight-settings")["data"]["GOODSIGHT_QUEUE"] = "many"


def service_whose_variable_is_a_setting(objects: Objects) -> None:
    find(objects, "Service/mlflow")["metadata"]["name"] = "goodsight"


def two_of_one_name(objects: Objects) -> None:
    objects.append(copy.deepcopy(find(objects, "Service/mlflow")))


def no_namespace(objects: Objects) -> None:
    del find(objects, "Service/mlflow")["metadata"]["namespace"]


MISTAKES: list[tuple[str, Callable[[Objects], None], str, str]] = [
    ("local", wrong_selector, "selector", "Deployment/mlflow"),
    ("local", service_of_no_pod, "selector", "Service/mlflow"),
    ("local", no_memory_limit, "resources", "Deployment/serving"),
    ("production", request_above_limit, "resources", "Deployment/serving"),
    ("gpu", gpu_in_requests_alone, "gpu-limit", "TrainingRuntime/goodsight-torch"),
    ("production", privileged, "security", "Deployment/serving"),
    ("gpu", root, "security", "TrainingRuntime/goodsight-torch"),
    ("gpu", path_of_the_host, "security", "TrainingRuntime/goodsight-torch"),
    ("production", token_of_the_default_account, "account", "Deployment/mlflow"),
    ("local", unknown_field, "schema", "Deployment/serving"),
    ("local", wrong_type, "schema", "Deployment/mlflow"),
    ("local", misspelt_field_of_the_runtime, "schema", "TrainingRuntime/goodsight-torch"),
    ("local", unknown_field_in_a_pod_of_the_runtime, "schema", "TrainingRuntime/goodsight-torch"),
    ("local", unknown_action_of_the_runtime, "schema", "TrainingRuntime/goodsight-torch"),
    ("kserve", unknown_field_of_the_predictor, "schema", "InferenceService/shop"),
    ("local", kind_without_schema, "no-schema", "ServiceMonitor/serving"),
    ("local", old_api, "no-schema", "Deployment/watch"),
    ("local", port_out_of_range, "port-range", "Service/serving"),
    ("local", target_port_of_no_container, "target-port", "Service/serving"),
    ("local", no_probe, "probe", "Deployment/serving"),
    ("local", probe_of_no_port, "probe", "Deployment/serving"),
    ("local", latest, "image-tag", "Deployment/watch"),
    ("local", no_tag, "image-tag", "Deployment/serving"),
    ("local", images_of_two_versions, "image-name", "ConfigMap/goodsight-settings"),
    ("local", secret_of_nobody, "reference", "Deployment/serving"),
    ("local", key_that_the_secret_lacks, "reference", "Deployment/serving"),
    ("local", no_config_map, "reference", "Deployment/serving"),
    ("local", no_claim, "reference", "TrainingRuntime/goodsight-torch"),
    ("local", no_volume, "reference", "Deployment/serving"),
    ("local", no_account, "reference", "TrainingRuntime/goodsight-torch"),
    ("production", no_priority, "reference", "TrainingRuntime/goodsight-torch"),
    ("local", binding_of_no_role, "reference", "RoleBinding/train-jobs"),
    ("local", no_runtime, "reference", "ConfigMap/goodsight-settings"),
    ("local", rights_to_everything, "rights", "Role/train-jobs"),
    ("local", rights_in_the_cluster, "rights", "ClusterRole/goodsight"),
    ("production", budget_of_no_pod, "disruption-budget", "PodDisruptionBudget/serving"),
    ("production", scaler_of_nothing, "scale-target", "HorizontalPodAutoscaler/serving"),
    ("production", scaler_against_replicas, "scale-target", "HorizontalPodAutoscaler/serving"),
    ("local", policy_of_no_pod, "network-policy", "NetworkPolicy/serving-clients"),
    ("local", policy_of_no_port, "network-policy", "NetworkPolicy/serving-clients"),
    ("local", open_by_default, "network-policy", "Namespace/goodsight"),
    ("local", unknown_setting, "setting", "Deployment/serving"),
    ("local", setting_of_a_wrong_value, "setting", "ConfigMap/goodsight-settings"),
    ("local", service_whose_variable_is_a_setting, "setting", "Service/goodsight"),
    ("local", two_of_one_name, "unique-name", "Service/mlflow"),
    ("local", no_namespace, "namespace", "Service/mlflow"),
]


@pytest.mark.parametrize(("overlay", "plant", "rule", "where"), MISTAKES, ids=[plant.__name__ for _, plant, _, _ in MISTAKES])
def test_a_planted_mistake_is_found_and_named(
    overlay: str, plant: Callable[[Objects], None], rule: str, where: str, rendered: dict[str, Objects]
) -> None:
    objects = copy.deepcopy(rendered[overlay])
    plant(objects)
    faults = found_in(Manifests(objects, external()))
    assert {(fault.rule, fault.where) for fault in faults} == {(rule, where)}
    assert all(fault.seen and fault.todo for fault in faults)
