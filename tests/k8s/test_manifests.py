"""Every overlay passes every check, and each mistake that is planted in one is found, by its rule and in its object."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from checks import found_in
from checks.manifests import HERE, OVERLAYS, Manifests, external, selects
from checks.pods import amount
from checks.schemas import KUBERNETES

from goodsight import settings
from goodsight.digests import HOUSE
from pipelines.pods import BY_SECRET, SECRET

pytestmark = pytest.mark.kubectl

Objects = list[dict[str, Any]]


def find(objects: Objects, place: str) -> dict[str, Any]:
    kind, name = place.split("/")
    return next(each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))


def gateway(objects: Objects) -> dict[str, Any]:
    return find(objects, "Deployment/serving")["spec"]["template"]["spec"]["containers"][0]


def torchserve(objects: Objects) -> dict[str, Any]:
    return find(objects, "Deployment/serving")["spec"]["template"]["spec"]["initContainers"][0]


def trainer(objects: Objects) -> dict[str, Any]:
    job = find(objects, "TrainingRuntime/goodsight-torch")["spec"]["template"]["spec"]["replicatedJobs"][0]
    return job["template"]["spec"]["template"]["spec"]


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
    find(objects, "CronJob/retrain")["apiVersion"] = "batch/v1beta1"


def port_out_of_range(objects: Objects) -> None:
    find(objects, "Service/serving")["spec"]["ports"][0]["port"] = 80800


def target_port_of_no_container(objects: Objects) -> None:
    find(objects, "Service/serving")["spec"]["ports"][0]["targetPort"] = "https"


def no_probe(objects: Objects) -> None:
    del torchserve(objects)["readinessProbe"]


def probe_of_no_port(objects: Objects) -> None:
    gateway(objects)["livenessProbe"]["httpGet"]["port"] = 8081


def latest(objects: Objects) -> None:
    find(objects, "CronJob/retrain")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] = (
        "ghcr.io/goodsight/pipeline:latest"
    )


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
    ("local", old_api, "no-schema", "CronJob/retrain"),
    ("local", port_out_of_range, "port-range", "Service/serving"),
    ("local", target_port_of_no_container, "target-port", "Service/serving"),
    ("local", no_probe, "probe", "Deployment/serving"),
    ("local", probe_of_no_port, "probe", "Deployment/serving"),
    ("local", latest, "image-tag", "CronJob/retrain"),
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_passes_every_check(overlay: str, rendered: dict[str, Objects]) -> None:
    assert found_in(Manifests(rendered[overlay], external())) == []


@pytest.mark.parametrize(("overlay", "plant", "rule", "where"), MISTAKES, ids=[plant.__name__ for _, plant, _, _ in MISTAKES])
def test_a_planted_mistake_is_found_and_named(
    overlay: str, plant: Callable[[Objects], None], rule: str, where: str, rendered: dict[str, Objects]
) -> None:
    objects = copy.deepcopy(rendered[overlay])
    plant(objects)
    faults = found_in(Manifests(objects, external()))
    assert {(fault.rule, fault.where) for fault in faults} == {(rule, where)}
    assert all(fault.seen and fault.todo for fault in faults)


def test_overlays_differ_as_they_say(rendered: dict[str, Objects]) -> None:
    kinds = {overlay: {each["kind"] for each in objects} for overlay, objects in rendered.items()}
    assert "InferenceService" in kinds["kserve"] and "InferenceService" not in kinds["production"]
    assert "StatefulSet" in kinds["local"] and "StatefulSet" not in kinds["gpu"] | kinds["production"]
    assert "nvidia.com/gpu" not in trainer(rendered["local"])["containers"][0]["resources"]["limits"]
    assert "nvidia.com/gpu" in trainer(rendered["production"])["containers"][0]["resources"]["limits"]
    classes = [find(rendered[overlay], "PersistentVolumeClaim/goodsight-home")["spec"] for overlay in ("local", "production")]
    assert [each["accessModes"] for each in classes] == [["ReadWriteOnce"], ["ReadWriteMany"]]


def test_kserve_serves_the_pod_of_production(rendered: dict[str, Objects]) -> None:
    predictor = find(rendered["kserve"], "InferenceService/shop")["spec"]["predictor"]
    pod = copy.deepcopy(find(rendered["production"], "Deployment/serving")["spec"]["template"]["spec"])
    pod["containers"][0]["name"] = "kserve-container"
    pod["containers"][0]["env"].append({"name": "PROTOCOL", "value": "v2"})
    assert {name: predictor[name] for name in pod} == pod


def test_what_is_declared_is_named_by_an_overlay_or_by_the_steps(rendered: dict[str, Objects]) -> None:
    text = yaml.safe_dump_all(each for objects in rendered.values() for each in objects)
    assert set(BY_SECRET) <= set(external()["Secret"][SECRET])
    text += " ".join([*BY_SECRET, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    assert {key for names in external().values() for keys in names.values() for key in keys if key not in text} == set()
    assert {name for kind, names in external().items() if kind != "Pod" for name in names if name not in text} == set()


def test_a_page_says_how_to_make_the_secrets_that_are_declared() -> None:
    page = (HOUSE / "docs" / "platform" / "kubernetes.md").read_text()
    ours = {name: keys for name, keys in external()["Secret"].items() if name.startswith("goodsight")}
    assert {word for name, keys in ours.items() for word in (name, *keys) if word not in page} == set()


def test_the_page_names_the_version_that_the_schemas_are_of() -> None:
    assert f"| Kubernetes | {KUBERNETES} or newer" in (HOUSE / "docs" / "platform" / "kubernetes.md").read_text()


EXITED = "Container node for pod goodsight/a failed with exit code %d matching FailJob rule at index 1"


@pytest.mark.parametrize(
    ("reason", "message", "action"),
    [
        ("PodFailurePolicy", EXITED % 2, "FailJobSet"),
        ("PodFailurePolicy", EXITED % 3, "FailJobSet"),
        ("PodFailurePolicy", EXITED % 75, "again, not counted"),
        ("PodFailurePolicy", "Pod goodsight/a has condition DisruptionTarget matching FailJob rule at index 0", "again, not counted"),
        ("BackoffLimitExceeded", "Job has reached the specified backoff limit", "again"),
    ],
)
def test_a_training_that_was_refused_ends_and_one_that_was_interrupted_goes_on(
    reason: str, message: str, action: str, rendered: dict[str, Objects]
) -> None:
    """The messages are those of Kubernetes' Job controller; JobSet takes the first rule that matches, and else starts again."""
    policy = find(rendered["gpu"], "TrainingRuntime/goodsight-torch")["spec"]["template"]["spec"]["failurePolicy"]
    meant = {"RestartJobSetAndIgnoreMaxRestarts": "again, not counted", "FailJobSet": "FailJobSet"}
    for rule in policy["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(re.search(each, message) for each in patterns):
            assert meant[rule["action"]] == action
            return
    assert action == "again" and policy["maxRestarts"] > 0


def test_a_server_is_given_the_time_that_it_needs_to_stop(rendered: dict[str, Objects]) -> None:
    from serving.gateway.server import LINGER_SECONDS
    from serving.running import PATIENCE_SECONDS

    pod = find(rendered["local"], "Deployment/serving")["spec"]["template"]["spec"]
    answering = float(find(rendered["local"], "ConfigMap/goodsight-settings")["data"]["GOODSIGHT_REQUEST_SECONDS"])
    unsent = gateway(rendered["local"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > unsent + LINGER_SECONDS + answering + PATIENCE_SECONDS


def test_a_trainer_is_given_the_time_for_its_checkpoint(rendered: dict[str, Objects]) -> None:
    from components.trainer import GRACE_SECONDS

    assert trainer(rendered["local"])["terminationGracePeriodSeconds"] > GRACE_SECONDS


def test_the_images_are_those_of_the_settings(rendered: dict[str, Objects]) -> None:
    data = find(rendered["local"], "ConfigMap/goodsight-settings")["data"]
    assert data["GOODSIGHT_IMAGE"] == settings.IMAGE
    assert data["GOODSIGHT_TRAIN_IMAGE"] == settings.TRAIN_IMAGE


def test_no_secret_is_in_the_repository(rendered: dict[str, Objects]) -> None:
    assert [each["metadata"]["name"] for objects in rendered.values() for each in objects if each["kind"] == "Secret"] == []


def test_schemas_of_our_own_know_no_field_that_the_resource_lacks() -> None:
    from kubeflow_trainer_api import models

    def fields(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    runtime = json.loads((HERE / "schemas" / "trainingruntime-trainer.kubeflow.org-v1alpha1.json").read_text())
    job = json.loads((HERE / "schemas" / "trainjob-trainer.kubeflow.org-v1alpha1.json").read_text())
    spec, jobs = runtime["properties"]["spec"]["properties"], runtime["$defs"]["JobSetSpec"]["properties"]
    told = job["properties"]["spec"]["properties"]
    for schema, model in (
        (spec, models.TrainerV1alpha1TrainingRuntimeSpec),
        (spec["mlPolicy"]["properties"], models.TrainerV1alpha1MLPolicy),
        (spec["mlPolicy"]["properties"]["torch"]["properties"], models.TrainerV1alpha1TorchMLPolicySource),
        (jobs, models.JobsetV1alpha2JobSetSpec),
        (jobs["failurePolicy"]["properties"], models.JobsetV1alpha2FailurePolicy),
        (jobs["failurePolicy"]["properties"]["rules"]["items"]["properties"], models.JobsetV1alpha2FailurePolicyRule),
        (jobs["replicatedJobs"]["items"]["properties"], models.JobsetV1alpha2ReplicatedJob),
        (told, models.TrainerV1alpha1TrainJobSpec),
        (told["trainer"]["properties"], models.TrainerV1alpha1Trainer),
    ):
        assert set(schema) <= fields(model), model.__name__


@pytest.mark.parametrize(("overlay", "device"), [("local", "cpu"), ("gpu", "gpu"), ("production", "gpu")])
def test_the_sdk_of_kubeflow_reads_the_runtime(overlay: str, device: str, rendered: dict[str, Objects]) -> None:
    from kubeflow.trainer.backends.kubernetes.utils import get_runtime_trainer
    from kubeflow_trainer_api import models

    runtime = models.TrainerV1alpha1TrainingRuntime.from_dict(find(rendered[overlay], "TrainingRuntime/goodsight-torch"))
    framework = runtime.metadata.labels["trainer.kubeflow.org/framework"]
    read = get_runtime_trainer(framework, runtime.spec.template.spec.replicated_jobs, runtime.spec.ml_policy)
    assert (read.image, read.device, read.command[-1].split()[-2]) == (settings.TRAIN_IMAGE, device, "torchrun")


def test_quantities_and_selectors_are_read_as_kubernetes_reads_them() -> None:
    assert [amount(each) for each in ("500m", "2", "1k", "1Ki", "1.5Gi")] == [0.5, 2, 1000, 1024, 1.5 * 2**30]
    labels = {"app": "a", "tier": "x"}
    assert selects({}, labels)
    assert selects({"matchLabels": {"app": "a"}}, labels) and not selects({"matchLabels": {"app": "b"}}, labels)
    for operator, key, holds in (("In", "tier", True), ("NotIn", "tier", False), ("Exists", "tier", True), ("DoesNotExist", "tier", False)):
        assert selects({"matchExpressions": [{"key": key, "operator": operator, "values": ["x"]}]}, labels) is holds
    assert selects({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["x"]}]}, labels)
