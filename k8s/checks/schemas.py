"""Every object against a schema that knows all its fields: Kubernetes' own, and those of k8s/schemas for custom resources.

A kind without a schema is a fault, since nothing would be known of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry, Resource

from checks.manifests import CLUSTER_WIDE, HERE, Fault, Manifests, where

KUBERNETES = "1.33"  # the oldest that the manifests are written for
DEFINITIONS = "https://kubernetes.io/api/_definitions.json"


def schemas(manifests: Manifests) -> Iterator[Fault]:
    """Unknown fields, wrong types, missing fields, kinds that no schema describes."""
    for each in manifests.objects:
        validator = _validator(str(each.get("apiVersion")), str(each.get("kind")))
        if validator is None:
            what = f"{each.get('apiVersion')} {each.get('kind')}"
            yield Fault(where(each), "no-schema", what, f"Correct kind and apiVersion, or write {_own(what)}.")
        else:
            for error in validator.iter_errors(each):
                yield _fault(where(each), error)


def _fault(place: str, error: ValidationError) -> Fault:
    told = (best_match([error]) or error) if error.context else error
    path = ".".join(str(part) for part in told.absolute_path) or "the object"
    return Fault(place, "schema", f"{path}: {told.message[:300]}", f"See `kubectl explain` for the fields of Kubernetes {KUBERNETES}.")


def _own(what: str) -> str:
    """The file that has the schema of a custom resource, of which `what` is apiVersion and kind."""
    version, kind = what.split()
    return f"k8s/schemas/{kind.lower()}-{version.replace('/', '-')}.json"


@lru_cache
def _registry() -> Registry:
    return Registry().with_resource(DEFINITIONS, Resource.from_contents(_kubernetes("_definitions")))


@lru_cache
def _validator(version: str, kind: str) -> Draft202012Validator | None:
    own = HERE.parent / _own(f"{version} {kind}")
    if own.exists():
        schema = json.loads(own.read_text())
    else:
        group, _, last = version.rpartition("/")
        names = [kind.lower(), group.split(".")[0], last] if group else [kind.lower(), last]
        known = not group or group.endswith(".k8s.io") or "." not in group
        schema = _kubernetes("-".join(names)) if known else None
    return Draft202012Validator(schema, registry=_registry()) if schema else None


def _kubernetes(name: str) -> dict[str, Any] | None:
    """A schema of Kubernetes, as the package kubernetes-validate has it: strict, so that unknown fields are refused."""
    from kubernetes_validate.utils import schema_contents

    if not re.fullmatch(r"[\w.-]+", name):
        return None
    try:
        found: dict[str, Any] = schema_contents(f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/{name}.json", KUBERNETES)
    except FileNotFoundError:
        return None
    return found


def names(manifests: Manifests) -> Iterator[Fault]:
    """Two objects of one name, and objects that would land in whatever namespace is current."""
    namespaces = {each["metadata"]["name"] for each in manifests.of("Namespace")}
    seen: set[tuple[str, str]] = set()
    for each in manifests.objects:
        if not each.get("metadata", {}).get("name"):
            yield Fault(where(each), "unique-name", "it has no name", "Name it.")
            continue
        key = (str(each.get("apiVersion", "")).rpartition("/")[0], where(each))
        if key in seen:
            yield Fault(where(each), "unique-name", "defined twice", "Name one of them otherwise; the second would replace the first.")
        seen.add(key)
        namespace = each["metadata"].get("namespace")
        if each["kind"] not in CLUSTER_WIDE and namespace not in namespaces:
            yield Fault(where(each), "namespace", f"namespace {namespace}", f"Put it into {' or '.join(sorted(namespaces))}.")
