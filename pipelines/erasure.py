"""Erasure across the rooms: a product out of its catalogue, with the models that learned from it, and old versions out of the remote;
both go into the ledger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from catalogue.erasure import mark
from catalogue.remote import collect_remote
from catalogue.validations import forget
from catalogue.versions import describe, erase_version, list_versions
from feature_repo.served import forget_events
from goodsight.errors import InputError
from goodsight.settings import settings
from lineage import record
from lineage.registry import trained_on
from serving.features import stores


def erase(name: str, product: str, reason: str, by: str, home: Path) -> dict[str, Any]:
    """Erases a product and returns the new revision, the versions that hold its bytes and the model versions trained on those.

    The validations of those versions, whose pages may show it, are removed from this home, and its events from what was pushed.
    The ledger names the product by its mark (a sha256), not by its id. Raises `InputError` without a reason, and like
    `catalogue.versions.erase_version`.
    """
    if not reason.strip():
        raise InputError("An erasure needs a reason.", 'Give --reason "request 4711 of the supplier".')
    revision, versions = erase_version(name, product, home)
    forget_events(stores(home), product)
    forget([describe(version, home)["digest"] for version in versions], home)
    found = {"revision": revision, "versions": versions, "models": trained_on(versions)}
    without = describe(revision, home)
    record.snapshot(without, "erasure", by, reason.strip())
    digests = [without["digest"], *(describe(version, home)["digest"] for version in versions)]
    record.erasure(digests, by, {"product": mark(name, product), "reason": reason.strip(), **found})
    return found


def remove(keep: int, by: str, home: Path) -> list[str]:
    """Removes old versions from this home and its remote (`catalogue.remote.collect_remote`), and says so in the ledger; returns them."""
    digests = {version["revision"]: version["digest"] for version in list_versions(home)}
    gone = collect_remote(home, keep)
    record.removal([digests[version] for version in gone], by, {"versions": gone, "remote": settings().data_remote})
    return gone
