"""The ML-BOM of a candidate: what it is made of, as a CycloneDX document that validates against the schema.

The CycloneDX library knows components, licences, hashes and dependencies; the fields for models and data sets
(`modelCard`, `data`) it does not know, so they are put into what it writes, and the whole is validated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from goodsight.errors import GoodsightError
from lineage.environment import US, Library, Tower, libraries
from lineage.facts import Facts, Figure
from lineage.scope import USERS, limits, misuses, uses

MODEL, DATA = "model", "snapshot"  # references inside the document


def mlbom(facts: Facts) -> dict[str, Any]:
    """The document as JSON; the same facts in the same environment give the same one. Raises `GoodsightError` when it is not valid."""
    document = json.loads(JsonV1Dot6(_bom(facts)).output_as_string())
    del document["metadata"]["timestamp"]  # when it was written is in the provenance
    document["metadata"]["component"]["modelCard"] = _model_card(facts)
    for component in document["components"]:
        if component["bom-ref"] == DATA:
            component["data"] = [_data_set(facts)]
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))
    if fault is not None:
        raise GoodsightError(f"The ML-BOM of {facts.name} is not valid CycloneDX 1.6: {str(fault.data)[:500]}", "Report this as a bug.")
    return document


def _bom(facts: Facts) -> Bom:
    """Components and what needs what: the model its data, its towers and Goodsight, Goodsight its libraries."""
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"urn:goodsight:candidate:{facts.record['digest']}"))
    model, data, starts = _model(facts), _data(facts), [_tower(tower) for tower in facts.towers]
    installed = {library.name: _library(library) for library in libraries()}
    bom.metadata.component = model
    bom.components.update([data, *starts, *installed.values()])
    bom.register_dependency(model, [data, *starts, installed[US]])
    for library in libraries():
        bom.register_dependency(installed[library.name], [installed[name] for name in library.requires])
    return bom


def _model(facts: Facts) -> Component:
    return Component(
        bom_ref=MODEL,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=facts.name,
        version=facts.record["digest"],
        hashes=_sha256(facts.record["digest"]),
        components=_files(facts.files, MODEL),
    )


def _data(facts: Facts) -> Component:
    manifest = facts.manifest
    return Component(
        bom_ref=DATA,
        type=ComponentType.DATA,
        name=manifest["source"],
        version=manifest["digest"],
        hashes=_sha256(manifest["digest"]),
        licenses=[licence for name in manifest["licences"] for licence in _disjunctive(name)],
        components=_files(manifest["files"], DATA),
    )


def _tower(tower: Tower) -> Component:
    library = tower.library
    return Component(
        bom_ref=f"tower:{tower.name}",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=tower.title or tower.name,
        version=library.version if library else None,
        purl=_purl(library) if library else None,
        hashes=_sha256(tower.weights) if tower.weights else [],
        licenses=_licences(tower.licence),
    )


def _library(library: Library) -> Component:
    return Component(
        bom_ref=library.purl,
        type=ComponentType.APPLICATION if library.name == US else ComponentType.LIBRARY,
        name=library.name,
        version=library.version,
        purl=_purl(library),
        licenses=_licences(library.licence),
    )


def _files(files: dict[str, str], of: str) -> list[Component]:
    return [
        Component(bom_ref=f"{of}/{name}", type=ComponentType.FILE, name=name, hashes=_sha256(digest)) for name, digest in files.items()
    ]


def _sha256(digest: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def _purl(library: Library) -> PackageURL:
    return PackageURL.from_string(library.purl)


def _licences(name: str) -> Iterable[License]:
    """By SPDX id or expression where it is one, else by its name; none when nobody said."""
    return [LicenseFactory().make_from_string(name)] if name else []


def _disjunctive(name: str) -> Iterable[License]:
    """One of several: an expression cannot stand beside others."""
    return [LicenseFactory().make_with_name(name) if isinstance(licence, LicenseExpression) else licence for licence in _licences(name)]


def _data_set(facts: Facts) -> dict[str, Any]:
    manifest = facts.manifest
    told = {"parent": manifest["parent"] or "", "split_rule": manifest["split_rule"], "schema_version": manifest["schema_version"]}
    counts = {f"counts.{name}": count for name, count in manifest["counts"].items()}
    return {"type": "dataset", "name": manifest["source"], "contents": {"properties": _properties(told | counts)}}


def _model_card(facts: Facts) -> dict[str, Any]:
    config = facts.config
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": ", ".join(facts.provenance),
            "architectureFamily": "multimodal transformer",
            "modelArchitecture": facts.record["architecture"],
            "datasets": [{"ref": DATA}],
            "inputs": [{"format": modality} for modality in config["modalities"]],
            "outputs": [{"format": f"probabilities of {facts.classes} categories"}, {"format": "vector of a product or a query"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [*map(_measured, facts.figures), *_sliced(facts)]},
        "considerations": {
            "users": list(USERS),
            "useCases": uses(facts),
            "technicalLimitations": [*limits(facts), *(f"Not for: {line}" for line in misuses())],
        },
        "properties": _properties(
            {f"config.{name}": value for name, value in config.items()}
            | {f"baseline.{figure.metric}.{kind}": value for figure in facts.figures for kind, value in figure.baselines.items()}
            | {f"cost.{name}": value for name, value in facts.evaluation["costs"].items()}
            | {"verdict": facts.verdict["decision"], "policy": facts.verdict["policy"]}
        ),
    }


def _measured(figure: Figure) -> dict[str, Any]:
    found: dict[str, Any] = {"type": figure.metric, "value": _number(figure.value)}
    if figure.interval:
        found["confidenceInterval"] = {"lowerBound": _number(figure.interval[0]), "upperBound": _number(figure.interval[1])}
    return found


def _sliced(facts: Facts) -> Iterable[dict[str, Any]]:
    for name, figures in facts.slices.items():
        for figure in figures.values():
            yield {**_measured(figure), "slice": f"{name} ({figure.items} items)"}


def _number(value: float) -> str:
    return f"{value:.6g}"


def _properties(told: dict[str, Any]) -> list[dict[str, str]]:
    """Our own names have our prefix, as the CycloneDX property taxonomy asks."""
    return [{"name": f"goodsight:{name}", "value": value if isinstance(value, str) else json.dumps(value)} for name, value in told.items()]
