"""Step 1: brings the bytes of one catalogue version out of the DVC data repo and checks them."""

from pathlib import Path

from kfp import dsl

from goodsight.settings import IMAGE


def snapshot(revision: str, out: Path) -> str:
    """Writes the snapshot of DVC `revision` to `out` and returns its digest."""
    from catalogue.snapshot import Snapshot
    from catalogue.versions import fetch
    from goodsight.settings import settings

    return Snapshot.open(fetch(revision, settings().root, out)).digest


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def snapshot_component(revision: str, code: str, snapshot: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def]
    from pathlib import Path

    from components import shell
    from components import snapshot as room

    with shell.step("snapshot", snapshot=snapshot):
        snapshot.metadata["snapshot"] = room.snapshot(revision, Path(snapshot.path))
