"""Step 8, when promoted: the signed bundle of a candidate with its evidence and documents, as one MLflow run and model version."""

import os
import shutil
from pathlib import Path


def register(
    candidate: Path,
    evaluation: Path,
    verdict: Path,
    plots: Path,
    snapshot: Path,
    revision: str,
    params: dict[str, object],
    code: str,
    registered: Path,
) -> str:
    """Writes the folder `registered`, which is served and kept from now on, registers it and returns its version.

    A candidate that is registered already keeps its version and its folder. Where the signature of that folder does not count
    any more, the new one takes its place: it has the same bundles.
    """
    import lineage.registry
    from catalogue.snapshot import Snapshot
    from goodsight.files import whole_folder
    from lineage.documents import Build, write_documents
    from lineage.signing import sign

    build = Build(revision, params, os.environ.get("GOODSIGHT_RUN_ID", ""), code)
    opened = Snapshot.open(snapshot)
    data = {"name": opened.manifest["source"], "digest": opened.digest, "source": revision}
    with whole_folder(registered) as aside:
        shutil.copytree(candidate, aside, copy_function=_link, dirs_exist_ok=True)
        shutil.copyfile(evaluation / "metrics.json", aside / "evaluation.json")
        shutil.copyfile(verdict, aside / "verdict.json")
        write_documents(aside, evaluation, verdict, snapshot, build)
        sign(aside)
    version = lineage.registry.register(registered, evaluation, verdict, data, params, plots, run_name=revision)
    _agree(version, registered)
    return version


def _agree(version: str, registered: Path) -> None:
    """Makes `registered` the folder that `version` was registered with, or the other way round where its signature lost its worth."""
    import lineage.registry
    from goodsight.digests import sha256_folder
    from goodsight.errors import IntegrityError
    from goodsight.files import whole_folder
    from goodsight.progress import note
    from lineage.signing import verify

    kept = lineage.registry.candidate_folder(version)
    if sha256_folder(kept) == sha256_folder(registered):
        return
    try:
        verify(kept)
    except IntegrityError as error:
        note(f"version {version} is signed again: {error.message}")
        lineage.registry.replace_candidate(version, registered)
        return
    with whole_folder(registered) as aside:
        shutil.copytree(kept, aside, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    """One file in two folders, of which neither is ever changed; a copy where they are on two disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
