"""The reference of a registered version, made when it is missing: once per champion."""

from __future__ import annotations

import contextlib
from pathlib import Path


def reference_of(version: str, root: Path, quiet: bool = False) -> Path:
    """The folder of the reference of `version` under the home `root` (`serving.reference`). How it is made is shown, unless `quiet`.

    Raises `InputError` when the version does not exist or was never deployed, and as `catalogue.versions.opened` does when the data
    that it was trained on is gone.
    """
    from catalogue.versions import opened
    from goodsight.files import exclusive
    from goodsight.progress import note
    from lineage import registry
    from pipelines.events import Listener
    from serving.predictor import Predictor
    from serving.reference import read_reference, write_reference

    folder = root / "monitoring" / "reference" / version
    if read_reference(folder) is not None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.parent / f"{version}.lock", "the reference", seconds=600):
        if read_reference(folder) is not None:
            return folder
        with Listener(root / "monitoring" / "reference.log", quiet) as listener, contextlib.redirect_stdout(listener):
            note(f"The reference of version {version} is made, from the data that it was trained on.")
            parts = registry.parts_of(version)
            with opened(registry.describe(version)["revision"], root) as (snapshot, _):
                write_reference(Predictor.load(parts.candidate, parts.index, version), snapshot, folder)
    return folder
