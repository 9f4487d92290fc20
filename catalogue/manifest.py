"""The digest of a snapshot, from its manifest alone."""

from __future__ import annotations

from typing import Any

from goodsight.digests import sha256_json

CONTENT = ("schema_version", "files", "split_rule", "categories")


def content_digest(manifest: dict[str, Any]) -> str:
    """sha256 over what a snapshot holds, not over when, from where or after which other it was made."""
    return sha256_json({name: manifest.get(name) for name in CONTENT})
