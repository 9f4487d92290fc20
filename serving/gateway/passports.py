"""What stands behind an answer, for those whose key has the scope `audit`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from goodsight.errors import InputError

Passports = Callable[[str], dict[str, Any]]


def passports(home: Path) -> Passports:
    """Finds the passport of an answer in the evidence of `home`. Raises `InputError` when no answer has the id."""

    def find(id: str) -> dict[str, Any]:
        from lineage.passport import passport
        from serving.evidence import sources

        try:
            wanted = str(uuid.UUID(id))
        except ValueError as error:
            raise InputError("The id of an answer is a UUID.") from error
        return dict(passport(wanted, sources(home)).to_json())

    return find
