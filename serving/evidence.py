"""Where the evidence of a home is, for passports."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lineage.sources import Sources


def sources(home: Path) -> Sources:
    """The ledger, the prediction log, the files and the versions of the data of a home."""
    from catalogue.trace import versions
    from goodsight.settings import settings

    chosen = settings()
    return Sources(home, chosen.ledger_url, chosen.predictions_url, partial(versions, home), partial(_read_version, home))


def _read_version(home: Path, revision: str) -> None:
    from catalogue.versions import opened

    with opened(revision, home):
        pass
