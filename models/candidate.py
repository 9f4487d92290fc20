"""The candidate: one fine-tuned bundle a task, together what one run proposes to serve."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from goodsight.digests import sha256_json
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json, whole_folder, write_json
from models.bundle import Bundle, verify
from models.config import TASKS


@dataclass(frozen=True)
class Candidate:
    """The verified bundles by task, and the digest over them."""

    digest: str
    bundles: dict[str, Bundle]


def assemble(bundles: Iterable[Path], folder: Path) -> str:
    """Copies one bundle a task into `folder` with `candidate.json`; returns the candidate's digest.

    Raises `InputError` when a task is missing or given twice.
    """
    given = [(read_json(path / "config.json")["task"], path) for path in bundles]
    by_task = dict(given)
    if sorted(task for task, _ in given) != sorted(TASKS):
        raise InputError(f"A candidate needs one bundle for each of {TASKS}, got {[task for task, _ in given]}.", "Fine-tune every task.")
    digests = {task: verify(path) for task, path in sorted(by_task.items())}
    with whole_folder(folder) as aside:
        for task, path in by_task.items():
            shutil.copytree(path, aside / task)
        config = read_json(by_task[TASKS[0]] / "config.json")
        provenance = read_json(by_task[TASKS[0]] / "provenance.json")
        digest = sha256_json(digests)
        facts = {"architecture": config["architecture"], "size": config["size"], "snapshot": provenance.get("snapshot", "")}
        write_json(aside / "candidate.json", {"digest": digest, "bundles": digests, **facts})
    return digest


def load_candidate(folder: Path, device: torch.device | None = None) -> Candidate:
    """Reads and verifies a candidate, as `Bundle.load` does. Raises `IntegrityError` when they are not those that its record names."""
    bundles = {task: Bundle.load(folder / task, device) for task in TASKS}
    record = read_json(folder / "candidate.json")
    digests = {task: bundle.digest for task, bundle in bundles.items()}
    for task, digest in digests.items():
        promised = record.get("bundles", {}).get(task)
        if promised != digest:
            message = f"{folder / task} is bundle {digest[:12]}, but candidate.json names {str(promised)[:12]}."
            raise IntegrityError(message, "Take the candidate folder whole, as the pipeline made it.")
    if record.get("digest") != sha256_json(digests):
        message = f"{folder / 'candidate.json'} does not match its own bundles."
        raise IntegrityError(message, "Take the candidate folder whole, as the pipeline made it.")
    return Candidate(record["digest"], bundles)
