"""What must hold of the rendered manifests before anything is applied; see k8s/README.md.

Each check is a function of the manifests of one overlay that yields what is wrong.
"""

from __future__ import annotations

from checks import links, pods, schemas
from checks.manifests import Fault, Manifests

FIRST = (schemas.schemas, schemas.names)
THEN = (
    pods.probes,
    pods.resources,
    pods.security,
    pods.images,
    pods.settings,
    links.selectors,
    links.ports,
    links.scaling,
    links.policies,
    links.rights,
    links.references,
)


def found_in(manifests: Manifests) -> list[Fault]:
    """What is wrong. The meaning of objects is looked at once their fields are right."""
    faults = [fault for check in FIRST for fault in check(manifests)]
    return faults or [fault for check in THEN for fault in check(manifests)]
