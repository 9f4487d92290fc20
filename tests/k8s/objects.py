"""The objects of a rendered overlay, by name."""

from __future__ import annotations

from typing import Any

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
