"""What stands behind an answer, for those whose key has the scope `audit`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from goodsight.errors import InputError
from lineage.graph import Passport

Passports = Callable[[str], Passport]


def passports(home: Path) -> Passports:
    """Finds the passport of an answer in the evidence of `home`. Raises `InputError` when no answer has the id."""

    def find(id: str) -> Passport:
        from lineage.passport import passport
        from serving.evidence import sources

        try:
            wanted = str(uuid.UUID(id))
        except ValueError as error:
            raise InputError("The id of an answer is a UUID.") from error
        return passport(wanted, sources(home))

    return find
