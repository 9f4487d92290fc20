"""What is known of one candidate, read once from the folders that the pipeline made, for every document that tells of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goodsight.digests import sha256_files
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json
from lineage.environment import Tower, towers
from lineage.gate import Evaluation, bootstrap_means

CONFIDENCE = 0.95
RESAMPLES = 2_000


@dataclass(frozen=True)
class Figure:
    """One figure with its 95 % interval (None: it is no mean of items) beside the baselines of the same items, by kind."""

    metric: str
    value: float
    interval: tuple[float, float] | None
    items: int
    baselines: dict[str, float]


@dataclass(frozen=True)
class Facts:
    """One candidate, its evaluation, its verdict and the manifest of the snapshot that it learned from."""

    record: dict[str, Any]  # candidate.json
    config: dict[str, Any]
    provenance: dict[str, dict[str, Any]]  # of each task's bundle
    classes: int
    files: dict[str, str]  # of the bundles and candidate.json -> sha256
    evaluation: dict[str, Any]  # metrics.json
    figures: tuple[Figure, ...]
    verdict: dict[str, Any]
    manifest: dict[str, Any]

    @classmethod
    def read(cls, candidate: Path, evaluation: Path, verdict: Path, snapshot: Path) -> Facts:
        """Reads the folders `candidate`, `evaluation` and `snapshot` and the file `verdict`.

        Raises `InputError` when one of them is not what it should be, `IntegrityError` when they are not of one another.
        """
        record, judged = read_json(candidate / "candidate.json"), read_json(verdict)
        manifest, measured = read_json(snapshot / "manifest.json"), read_json(evaluation / "metrics.json")
        scored = Evaluation.read(evaluation)
        _check(record, judged, manifest, scored)
        tasks = sorted(record["bundles"])
        whole = sha256_files(candidate)
        return cls(
            record=record,
            config=read_json(candidate / tasks[0] / "config.json"),
            provenance={task: read_json(candidate / task / "provenance.json") for task in tasks},
            classes=max(len(read_json(candidate / task / "labels.json")) for task in tasks),
            files={name: digest for name, digest in whole.items() if name.split("/")[0] in (*tasks, "candidate.json")},
            evaluation=measured,
            figures=tuple(_figures(scored)),
            verdict=judged,
            manifest=manifest,
        )

    @property
    def name(self) -> str:
        """As people call it: the architecture, its size, the catalogue."""
        return f"{self.record['architecture']} {self.record['size']} on {self.manifest['source']}"

    @property
    def towers(self) -> list[Tower]:
        return towers(self.config)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages other than the catalogue's own that its titles were asked in."""
        return sorted(name.removeprefix("language=") for name in self.evaluation["slices"] if name.startswith("language="))


def _check(record: dict[str, Any], verdict: dict[str, Any], manifest: dict[str, Any], measured: Evaluation) -> None:
    again = "Take candidate, evaluation, verdict and snapshot of one run."
    try:
        pairs = {
            "evaluation is of the candidate": (measured.candidate, record["digest"]),
            "verdict is on the candidate": (verdict["candidate"]["digest"], record["digest"]),
            "evaluation is on the snapshot": (measured.snapshot, manifest["digest"]),
        }
    except (KeyError, TypeError) as error:
        raise InputError(f"Candidate, verdict or manifest lacks {error}.", again) from error
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            raise IntegrityError(f"The {what} {str(found)[:12]}, not {str(wanted)[:12]}.", again)


def _figures(measured: Evaluation) -> Iterator[Figure]:
    tail = (1 - CONFIDENCE) / 2
    for metric in sorted(measured.metrics, key=_natural):
        _, values = measured.items.get(metric, (None, np.empty(0)))
        interval = None
        if len(values):
            low, high = np.quantile(bootstrap_means(values, RESAMPLES, seed=0), [tail, 1 - tail])
            interval = (float(low), float(high))
        prefix = f"{metric}_"
        baselines = {name.removeprefix(prefix): other for name, other in measured.baselines.items() if name.startswith(prefix)}
        yield Figure(metric, measured.metrics[metric], interval, len(values), baselines)


def _natural(name: str) -> list[str | int]:
    """Sorts @5 before @10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
