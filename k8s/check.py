"""Renders the overlays and checks them, without a cluster: python k8s/check.py [OVERLAY...]

Needs kubectl or kustomize, and Goodsight's development packages. Exit status: 0 nothing found, 1 found, 2 could not look.
"""

from __future__ import annotations

import sys

from checks import found_in
from checks.manifests import OVERLAYS, Manifests, external, render


def main(overlays: list[str]) -> int:
    """Prints a line for every fault of these overlays, or of all; returns the exit status."""
    faults = objects = 0
    for overlay in overlays or OVERLAYS:
        try:
            manifests = Manifests(render(overlay), external())
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        objects += len(manifests.objects)
        for fault in found_in(manifests):
            faults += 1
            print(f"{overlay}: {fault.where}: {fault.rule}: {fault.seen}\n  hint: {fault.todo}")
    print(f"{objects} objects in {', '.join(overlays or OVERLAYS)}: {faults or 'no'} fault{'s' if faults != 1 else ''}.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
