"""Every overlay passes every check, and they differ as they say."""

from __future__ import annotations

import copy
import json
import re
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
from tests.k8s.objects import Objects, find, gateway, trainer

pytestmark = pytest.mark.kubectl


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_passes_every_check(overlay: str, rendered: dict[str, Objects]) -> None:
    assert found_in(Manifests(rendered[overlay], external())) == []


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
