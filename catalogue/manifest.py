"""The digest of a snapshot, from its manifest alone, and whether that manifest is as it was written."""

from __future__ import annotations

from typing import Any

from goodsight.digests import sha256_json

CONTENT = ("schema_version", "files", "split_rule", "categories")
MAKING = ("counts", "licences", "source", "parent", "created")


def content_digest(manifest: dict[str, Any]) -> str:
    """sha256 over what a snapshot holds, not over when, from where or after which other it was made."""
    return sha256_json({name: manifest.get(name) for name in CONTENT})


def checksum(manifest: dict[str, Any]) -> str:
    """sha256 over all that a manifest says."""
    return sha256_json({name: manifest[name] for name in (*CONTENT, *MAKING) if name in manifest})


def as_written(manifest: dict[str, Any]) -> bool:
    """Whether a manifest, maybe with more beside, says what it said when it was written."""
    return manifest.get("digest") == content_digest(manifest) and manifest.get("checksum") == checksum(manifest)
