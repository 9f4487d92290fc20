"""The ML-BOM: valid, read back by the library, and every hash is that of a file."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from goodsight.digests import sha256_file
from goodsight.errors import GoodsightError
from lineage.mlbom import mlbom
from tests.lineage.made import Run


@pytest.fixture(scope="module")
def document(finished: Run) -> dict[str, Any]:
    return mlbom(finished.facts)


def components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {component["bom-ref"]: component for component in document["components"]}


def test_it_is_valid_and_comes_back(document: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    read = Bom.from_json(document)  # type: ignore[attr-defined]
    assert read.metadata.component.name == "commercemm tiny on shop"
    assert read.validate()


def test_the_same_facts_give_the_same_document_and_another_candidate_another_number(document: dict[str, Any], finished: Run) -> None:
    assert mlbom(finished.facts) == document
    other = replace(finished.facts, record={**finished.facts.record, "digest": "0" * 64})
    assert mlbom(other)["serialNumber"] != document["serialNumber"]


def test_the_model_has_its_card_and_its_files(document: dict[str, Any], finished: Run) -> None:
    model = document["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    for file in model["components"]:
        assert file["hashes"] == [{"alg": "SHA-256", "content": sha256_file(finished.candidate / file["name"])}]
    assert "retrieve/weights.safetensors" in {file["name"] for file in model["components"]}
    parameters = model["modelCard"]["modelParameters"]
    assert (parameters["modelArchitecture"], parameters["task"]) == ("commercemm", "categorize, retrieve")
    assert parameters["datasets"] == [{"ref": "snapshot"}]
    assert model["modelCard"]["considerations"]["technicalLimitations"]


def test_figures_have_intervals_and_slices(document: dict[str, Any], finished: Run) -> None:
    measured = document["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    (leaf,) = (each for each in measured if each["type"] == "leaf_accuracy" and "slice" not in each)
    low, high = (float(leaf["confidenceInterval"][end]) for end in ("lowerBound", "upperBound"))
    assert low < float(leaf["value"]) < high
    assert float(leaf["value"]) == pytest.approx(finished.facts.evaluation["metrics"]["leaf_accuracy"], abs=1e-5)
    deep = [each for each in measured if each.get("slice") == "depth=3 (20 items)"]
    assert "leaf_accuracy" in {each["type"] for each in deep} and all("confidenceInterval" in each for each in deep)


def test_data_libraries_and_what_needs_what(document: dict[str, Any], finished: Run) -> None:
    found = components(document)
    data = found["snapshot"]
    assert data["hashes"][0]["content"] == finished.facts.manifest["digest"] and data["licenses"] and data["data"][0]["type"] == "dataset"
    assert {file["name"] for file in data["components"]} == set(finished.facts.manifest["files"])
    (torch,) = (each for each in found.values() if each["name"] == "torch")
    assert (torch["type"], torch["version"], torch["purl"]) == ("library", metadata.version("torch"), torch["bom-ref"])
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    ours = f"pkg:pypi/goodsight@{metadata.version('goodsight')}"
    assert set(needs["model"]) == {"snapshot", ours} and torch["bom-ref"] in needs[ours]
    assert {ref for refs in needs.values() for ref in refs} <= found.keys()


def test_pretrained_towers_are_components_with_licence_and_digest(finished: Run) -> None:
    facts = finished.facts
    config = {**facts.config, "image_tower": "efficientnet-lite0", "text_tower": "acme/bert"}
    document = mlbom(replace(facts, config=config))
    known, hub = components(document)["tower:efficientnet-lite0"], components(document)["tower:acme/bert"]
    assert known["licenses"] == [{"license": {"id": "Apache-2.0"}}] and known["hashes"][0]["content"].startswith("57934424")
    assert hub["name"] == "acme/bert" and "licenses" not in hub
    needs = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert {"tower:efficientnet-lite0", "tower:acme/bert"} <= set(needs["model"])


def test_licences_of_the_data_may_be_anything(finished: Run) -> None:
    facts = finished.facts
    licences = {"CC-BY-4.0": 3, "MIT OR Apache-2.0": 2, "ask our lawyers": 1, "": 1}
    data = components(mlbom(replace(facts, manifest={**facts.manifest, "licences": licences})))["snapshot"]
    named = {each["license"].get("id") or each["license"]["name"] for each in data["licenses"]}
    assert named == {"CC-BY-4.0", "MIT OR Apache-2.0", "ask our lawyers"}


def test_what_is_not_valid_is_an_error(finished: Run) -> None:
    facts = finished.facts
    with pytest.raises(GoodsightError, match=r"not valid CycloneDX 1\.6"):
        mlbom(replace(facts, files={"weights.safetensors": "not a digest"}))
