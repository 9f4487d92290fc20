"""Where a registered model comes from: an in-toto statement with the SLSA provenance of its build.

Subjects are all files of the registered folder. What a verifier needs to know of our build type is in docs/auditor.md.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI, Statement

import goodsight
from goodsight.digests import HOUSE, sha256_file
from goodsight.errors import InputError
from lineage.environment import Checkout, checkout
from lineage.facts import Facts

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:goodsight:retrain:v1"
BUILDER = "urn:goodsight:builder:v1"
LOCK = HOUSE / "requirements.lock"


@dataclass(frozen=True)
class Build:
    """The run that made a model, as the one who ran it knows it."""

    revision: str  # of the catalogue
    params: Mapping[str, Any]  # what was asked for: architecture, size, seed
    run_id: str
    code: str  # digest of the code of the steps


def provenance(facts: Facts, build: Build, files: Mapping[str, str], environment: str) -> dict[str, Any]:
    """The statement on `files` (relative path -> sha256) as JSON; `environment` is the digest of the list of installed libraries.

    Raises `InputError` when the parts do not make a valid statement: no file.
    """
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"revision": build.revision, **build.params, "policy": facts.verdict["policy"]},
            "internalParameters": {"recipes": {task: each.get("recipe", {}) for task, each in facts.provenance.items()}},
            "resolvedDependencies": list(_dependencies(facts, build, environment)),
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"goodsight": goodsight.__version__, "python": platform.python_version()}},
            "metadata": {"invocationId": build.run_id} if build.run_id else {},  # when it ran is in the ledger, under that id
        },
    }
    statement = {
        "_type": STATEMENT_TYPE_URI,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }
    _check(statement)
    return statement


def _check(statement: dict[str, Any]) -> None:
    """Reads it as in-toto and SLSA do, which know no other fields than theirs."""
    try:
        Statement.copy_from_pb(json_format.ParseDict(statement, statement_pb2.Statement())).validate()
        json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    except (ValueError, json_format.Error) as error:
        raise InputError(f"No provenance can be stated: {error}", "Name the files that it is of.") from error


def _dependencies(facts: Facts, build: Build, environment: str) -> Iterator[dict[str, Any]]:
    """All that went in: data, code, libraries, pretrained weights."""
    yield {"name": "snapshot", "uri": f"urn:goodsight:snapshot:{build.revision}", "digest": {"sha256": facts.manifest["digest"]}}
    yield {"name": "steps", "digest": {"sha256": build.code}}
    if source := checkout():
        yield _source(source)
    yield {"name": "environment.txt", "digest": {"sha256": environment}}
    if LOCK.is_file():
        yield {"name": LOCK.name, "digest": {"sha256": sha256_file(LOCK)}}
    for tower in facts.towers:
        uri = {"uri": tower.library.purl, "digest": {"sha256": tower.weights}} if tower.library else {}
        yield {"name": tower.name, **uri}


def _source(source: Checkout) -> dict[str, Any]:
    uri = {"uri": f"git+{source.origin}@{source.commit}"} if source.origin else {}
    return {"name": "source", **uri, "digest": {"gitCommit": source.commit}, "annotations": {"dirty": source.dirty}}
