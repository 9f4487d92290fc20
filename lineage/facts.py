"""What is known of one candidate, read once from the folders that the pipeline made, for every document that tells of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_files
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json
from lineage.environment import Tower, towers
from lineage.evaluation import Evaluation
from lineage.statistics import mean_interval

CONFIDENCE = 0.95
RESAMPLES = 2_000


@dataclass(frozen=True)
class Figure:
    """One figure with its 95 % interval (None: it is no mean of items) beside the baselines of the same items, by kind."""

    metric: str
    value: float
    interval: tuple[float, float] | None
    items: int
    baselines: dict[str, float] = field(default_factory=dict)


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
    slices: dict[str, dict[str, Figure]]  # slice -> metric -> figure
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
            slices={name: dict(_sliced(scored, name, told)) for name, told in measured["slices"].items()},
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
        return sorted(name.removeprefix("language=") for name in self.slices if name.startswith("language="))


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
    for metric in sorted(measured.metrics, key=_natural):
        items, prefix = measured.items.get(metric), f"{metric}_"
        interval = mean_interval(items.values, items.clusters, CONFIDENCE, RESAMPLES, seed=0) if items else None
        baselines = {name.removeprefix(prefix): other for name, other in measured.baselines.items() if name.startswith(prefix)}
        yield Figure(metric, measured.metrics[metric], interval, len(items.values) if items else 0, baselines)


def _sliced(measured: Evaluation, name: str, told: dict[str, float]) -> Iterator[tuple[str, Figure]]:
    """Figures of one slice; `items` is how many items it has."""
    for metric in sorted(told.keys() - {"items"}, key=_natural):
        items = measured.items.get(metric)
        members = items.slices.get(name) if items else None
        if items is None or members is None:
            yield metric, Figure(metric, told[metric], None, int(told["items"]))
            continue
        interval = mean_interval(items.values[members], items.clusters[members], CONFIDENCE, RESAMPLES, seed=0)
        yield metric, Figure(metric, told[metric], interval, int(members.sum()))


def _natural(name: str) -> list[str | int]:
    """Sorts @5 before @10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
