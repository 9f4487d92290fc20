"""The documents that a model is registered with, written before it is signed."""

from __future__ import annotations

from pathlib import Path

from goodsight.digests import sha256_files
from goodsight.files import write_bytes, write_json
from lineage.card import card
from lineage.environment import environment
from lineage.facts import Facts
from lineage.provenance import Build, provenance

__all__ = ["Build", "write_documents"]

CARD, MLBOM, ENVIRONMENT, PROVENANCE = "card.md", "mlbom.cdx.json", "environment.txt", "provenance.intoto.json"


def write_documents(folder: Path, evaluation: Path, verdict: Path, snapshot: Path, build: Build) -> None:
    """Writes card, ML-BOM, list of the environment and provenance into `folder`, which holds the files of the candidate.

    `evaluation` and `snapshot` are folders, `verdict` is a file. The provenance is of every file in `folder`, so it comes
    last; whatever is put there later is not in it. Raises `InputError` when one of the four is not what it should be, and
    `IntegrityError` when they are not of one another.
    """
    from lineage.mlbom import mlbom  # the checks of its schema take a second to import

    facts = Facts.read(folder, evaluation, verdict, snapshot)
    digest, installed = environment()
    write_bytes(folder / ENVIRONMENT, installed.encode())
    write_bytes(folder / CARD, card(facts).encode())
    write_json(folder / MLBOM, mlbom(facts))
    files = {name: found for name, found in sha256_files(folder).items() if name != PROVENANCE}
    write_json(folder / PROVENANCE, provenance(facts, build, files, digest))
