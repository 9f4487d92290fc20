"""Step 1: brings the bytes of one catalogue version out of the DVC data repo and checks them."""

from pathlib import Path


def snapshot(revision: str, out: Path) -> str:
    """Writes the snapshot of DVC `revision` to `out` and returns its digest."""
    from catalogue.snapshot import Snapshot
    from catalogue.versions import fetch
    from goodsight.settings import settings

    return Snapshot.open(fetch(revision, settings().root, out)).digest
