"""The gate: may this candidate replace the champion? Two evaluations and a policy in, a verdict with its evidence out.

Floors are judged on the candidate alone: absolute ones, and baselines of the same evaluation. Against a champion each
metric is judged by a paired bootstrap over the items that both were scored on: the candidate passes when, with the
policy's confidence, it is not worse by the margin. What could not be judged is in the verdict too, with `pass: null`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goodsight.digests import sha256_folder, sha256_json
from goodsight.errors import InputError
from goodsight.files import read_json

BLOCK_NUMBERS = 2**23  # counts drawn at a time by the bootstrap: 64 MiB
POLICY = Path(__file__).with_name("policy.yaml")


class Rule(BaseModel):
    """What one metric must show; see `policy.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required: bool = True
    floor: float | None = Field(default=None, ge=0, le=1)
    baseline: str | None = None
    allowance: float = Field(default=0.0, ge=0, le=1)
    margin: float | None = Field(default=None, gt=0, le=1)


class Policy(BaseModel):
    """The rules of the gate: one `Rule` a metric, and how the comparison with the champion is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(gt=0.5, lt=1)
    power: float = Field(gt=0.5, lt=1)
    resamples: int = Field(ge=100)
    seed: int = Field(ge=0)
    min_items_in_common: int = Field(ge=2)
    metrics: dict[str, Rule] = Field(min_length=1)

    @classmethod
    def load(cls, path: Path = POLICY) -> Policy:
        """The policy in a YAML file. Raises `InputError` naming the key that is wrong."""
        try:
            text = path.read_text()
        except OSError as error:
            raise InputError(f"The gate's policy {path} cannot be read: {error}", "Give a YAML file.") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "given") -> Policy:
        """The policy in YAML `text`, called `name` in errors. Raises `InputError` naming the key that is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise InputError(f"The gate's policy {name} cannot be read: {error}", "Give a YAML file.") from error
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"])) or "the whole file"
            message = f"The gate's policy {name} is wrong at {key}: {wrong['msg']}"
            raise InputError(message, f"Correct {key}.") from error

    @property
    def digest(self) -> str:
        return sha256_json(self.model_dump())


@dataclass(frozen=True)
class Comparison:
    """A paired difference of means, candidate minus champion, with its bootstrap evidence.

    `p` is for "worse by the margin or more"; `minimum_detectable_effect` is the smallest true difference that as many
    items would tell from none, at the policy's confidence and power.
    """

    items: int
    difference: float
    confidence_interval: tuple[float, float]
    p: float
    minimum_detectable_effect: float

    @property
    def superior(self) -> bool:
        return self.confidence_interval[0] > 0


@dataclass(frozen=True)
class Check:
    """One line of a verdict. `passed` None: it could not be judged. `rule` says what was asked, or why it was not."""

    name: str
    metric: str
    rule: str
    passed: bool | None
    candidate: float | None
    champion: float | None = None
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        evidence = asdict(self.comparison) if self.comparison else dict.fromkeys(Comparison.__annotations__)
        superior = self.comparison.superior if self.comparison else None
        flat = {name: value for name, value in vars(self).items() if name not in ("comparison", "passed")}
        return {**flat, **evidence, "slice": "all", "superior": superior, "pass": self.passed}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation folder in memory: figures by name, and per metric the item ids (sorted) with their values."""

    folder: Path
    candidate: str
    snapshot: str
    metrics: dict[str, float]
    baselines: dict[str, float]
    items: dict[str, tuple[np.ndarray, np.ndarray]] = field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Raises `InputError` when the folder is not an evaluation."""
        figures = read_json(folder / "metrics.json")
        try:
            candidate, snapshot = figures["candidate"], figures["snapshot"]
            metrics, baselines = _finite(figures["metrics"]), _finite(figures["baselines"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder} is no evaluation: {error!r}", "Evaluate the candidate again.") from error
        return cls(folder, candidate, snapshot, metrics, baselines, _items(folder / "items.parquet"))

    def summary(self) -> dict[str, str]:
        return {"digest": self.candidate, "snapshot": self.snapshot, "evaluation": sha256_folder(self.folder)}


def decide(candidate: Path, champion: Path | None, policy: Policy) -> dict[str, Any]:
    """The verdict on the evaluation folder `candidate` against that of the champion, None when nothing serves yet.

    `decision` is `promote` when no check failed and at least one passed, else `reject`. The same folders and policy
    give the same verdict. Raises `InputError` when a folder is not an evaluation.
    """
    ours = Evaluation.read(candidate)
    theirs = Evaluation.read(champion) if champion else None
    checks = [check for metric in policy.metrics for check in _checks(metric, ours, theirs, policy)]
    outcomes = [check.passed for check in checks]
    return {
        "decision": "promote" if True in outcomes and False not in outcomes else "reject",
        "checks": [check.to_json() for check in checks],
        "candidate": ours.summary(),
        "champion": theirs.summary() if theirs else None,
        "policy": policy.digest,
    }


def compare(differences: np.ndarray, margin: float, policy: Policy) -> Comparison:
    """Bootstraps the mean of `differences` (items,): percentile interval, and p of "mean <= -margin"."""
    means = bootstrap_means(differences, policy.resamples, policy.seed)
    tail = (1 - policy.confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    error = float(differences.std()) / math.sqrt(len(differences))
    normal = NormalDist()
    return Comparison(
        items=len(differences),
        difference=float(differences.mean()),
        confidence_interval=(float(low), float(high)),
        p=float((1 + np.count_nonzero(means <= -margin)) / (1 + policy.resamples)),
        minimum_detectable_effect=error * (normal.inv_cdf(1 - tail) + normal.inv_cdf(policy.power)),
    )


def bootstrap_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (resamples,) of draws with replacement from `values` (items,).

    Draws how often each distinct value comes up, not which items: the same distribution, far fewer numbers.
    """
    distinct, counts = np.unique(values, return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK_NUMBERS // len(distinct))
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    shares = counts / len(values)
    return np.concatenate([generator.multinomial(len(values), shares, size) @ distinct for size in sizes]) / len(values)


def _checks(metric: str, ours: Evaluation, theirs: Evaluation | None, policy: Policy) -> list[Check]:
    rule, value = policy.metrics[metric], ours.metrics.get(metric)
    if value is None:
        return [_missing(metric, rule, ours, theirs)]
    checks = [Check("measured", metric, "in the candidate's evaluation", True, value)] if rule.required else []
    if rule.floor is not None:
        checks.append(Check("floor", metric, f">= {rule.floor:g}", value >= rule.floor, value))
    if rule.baseline is not None:
        checks.append(_baseline(metric, rule, value, ours.baselines.get(rule.baseline)))
    if rule.margin is not None and theirs is not None:
        checks.append(_non_inferiority(metric, rule.margin, ours, theirs, policy))
    return checks


def _missing(metric: str, rule: Rule, ours: Evaluation, theirs: Evaluation | None) -> Check:
    """Fails when the metric is required, or when the champion was measured by it on the very same snapshot."""
    champion = theirs.metrics.get(metric) if theirs else None
    dropped = champion is not None and theirs is not None and theirs.snapshot == ours.snapshot
    passed = False if rule.required or dropped else None
    return Check("measured", metric, "not in the candidate's evaluation", passed, None, champion)


def _baseline(metric: str, rule: Rule, value: float, baseline: float | None) -> Check:
    if baseline is None:
        passed = False if rule.required else None
        return Check("baseline", metric, f"baseline {rule.baseline} is not in the evaluation", passed, value)
    wanted = baseline - rule.allowance
    allowed = f" - {rule.allowance:g}" if rule.allowance else ""
    return Check("baseline", metric, f"> {rule.baseline} = {baseline:.4f}{allowed}", value > wanted, value)


def _non_inferiority(metric: str, margin: float, ours: Evaluation, theirs: Evaluation, policy: Policy) -> Check:
    candidate, champion = ours.metrics[metric], theirs.metrics.get(metric)
    name = "non_inferiority"
    if champion is None:
        return Check(name, metric, "not in the champion's evaluation: floors only", None, candidate)
    differences = _paired(ours.items.get(metric), theirs.items.get(metric))
    if len(differences) < policy.min_items_in_common:
        rule = f"champion not comparable: {len(differences)} items in common, {policy.min_items_in_common} needed"
        return Check(name, metric, f"{rule}: floors only", None, candidate, champion)
    found = compare(differences, margin, policy)
    rule = f"{policy.confidence:.0%} interval of the difference above -{margin:g}"
    return Check(name, metric, rule, found.confidence_interval[0] > -margin, candidate, champion, found)


def _paired(ours: tuple[np.ndarray, np.ndarray] | None, theirs: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Candidate minus champion on the items both have; none when either has no items."""
    if ours is None or theirs is None:
        return np.empty(0)
    _, left, right = np.intersect1d(ours[0], theirs[0], assume_unique=True, return_indices=True)
    return ours[1][left] - theirs[1][right]


def _finite(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that are numbers; a NaN was not measured."""
    return {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def _items(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        table = pq.read_table(path, columns=["metric", "item", "value"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}", "Evaluate the candidate again.") from error
    return {name: _metric_items(path, name, table.filter(pc.field("metric") == name)) for name in _names(table)}


def _names(table: Any) -> list[str]:
    return sorted(table["metric"].unique().to_pylist())


def _metric_items(path: Path, metric: str, table: Any) -> tuple[np.ndarray, np.ndarray]:
    ids, first = np.unique(np.asarray(table["item"].to_pylist(), dtype=str), return_index=True)
    values = table["value"].to_numpy()
    if len(ids) != len(values) or not np.isfinite(values).all():
        raise InputError(f"{path} has items of {metric} twice or without value.", "Evaluate the candidate again.")
    return ids, values[first]
