"""One check of a verdict, and the checks that need no statistics: floors, baselines, ceilings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from lineage.evaluation import Evaluation
from lineage.policy import Ceiling, Policy, Rule

WHOLE = "all"  # the slice of all items


@dataclass(frozen=True)
class Evidence:
    """A paired difference, candidate minus champion, as the comparison judged it.

    `p` is that of the null hypothesis which the rule forbids, `adjusted_p` the same after Holm; it is judged at the
    one-sided `level`, and `confidence_interval` is that of both one-sided tests at this level: what it holds is not
    rejected. `minimum_detectable_effect` is the smallest true difference that as many `clusters` would tell from none.
    """

    items: int
    clusters: int
    difference: float
    confidence_interval: tuple[float, float]
    level: float
    p: float
    adjusted_p: float
    minimum_detectable_effect: float

    @property
    def superior(self) -> bool:
        return self.confidence_interval[0] > 0


@dataclass(frozen=True)
class Check:
    """One line of a verdict. `passed` None: it could not be judged. `rule` says what was asked, or why it was not.

    `bound` is the figure that `candidate`, or in a comparison the difference, must not fall below (or rise above).
    `outcome` is `passed`, `failed`, `no evidence` (too little data to show what was asked), `outweighed` (no evidence either, but
    a gain elsewhere is shown), `unjudged` or `overridden`.
    """

    name: str
    metric: str
    rule: str
    passed: bool | None
    candidate: float | None
    champion: float | None = None
    slice: str = WHOLE
    bound: float | None = None
    evidence: Evidence | None = None
    outcome: str = ""
    override: dict[str, str] | None = None

    @property
    def id(self) -> str:
        """What an override names it by: `leaf_accuracy/floor`, `leaf_accuracy/non_inferiority/source=shelf`."""
        return "/".join([self.metric, self.name, *([] if self.slice == WHOLE else [self.slice])])

    def to_json(self) -> dict[str, Any]:
        found = {name: value for name, value in vars(self).items() if name not in ("evidence", "passed")}
        evidence = {field.name: getattr(self.evidence, field.name, None) for field in fields(Evidence)}
        superior = self.evidence.superior if self.evidence else None
        outcome = self.outcome or {True: "passed", False: "failed", None: "unjudged"}[self.passed]
        return {**found, **evidence, "id": self.id, "superior": superior, "pass": self.passed, "outcome": outcome}


def standing_checks(ours: Evaluation, theirs: Evaluation | None, policy: Policy) -> Iterator[Check]:
    """What is judged on figures alone: each metric is there, above its floor and baseline; each ceiling is kept."""
    for metric, rule in policy.metrics.items():
        value = ours.metrics.get(metric)
        if value is None:
            yield _missing(metric, rule, ours, theirs)
            continue
        if rule.required:
            yield Check("measured", metric, "in the candidate's evaluation", True, value)
        if rule.floor is not None:
            yield Check("floor", metric, f">= {rule.floor:g}", value >= rule.floor, value, bound=rule.floor)
        if rule.baseline is not None:
            yield _baseline(metric, rule, value, ours.baselines.get(rule.baseline))
    for figure, wanted in policy.ceilings.items():
        yield from _ceilings(figure, wanted, ours, theirs)


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
    return Check("baseline", metric, f"> {rule.baseline} = {baseline:.4f}{allowed}", value > wanted, value, bound=wanted)


def _ceilings(figure: str, wanted: Ceiling, ours: Evaluation, theirs: Evaluation | None) -> Iterator[Check]:
    """Absolute, and beside the champion; what was not measured is reported unjudged."""
    value = (ours.metrics | ours.costs).get(figure)
    if value is None:
        yield Check("ceiling", figure, "not in the candidate's evaluation", None, None)
        return
    if wanted.ceiling is not None:
        yield Check("ceiling", figure, f"<= {wanted.ceiling:g}", value <= wanted.ceiling, value, bound=wanted.ceiling)
    champion = (theirs.metrics | theirs.costs).get(figure) if theirs else None
    if champion is None:
        return
    if wanted.worsening is not None:
        limit, rule = champion + wanted.worsening, f"<= champion + {wanted.worsening:g}"
        yield Check("worsening", figure, rule, value <= limit, value, champion, bound=limit)
    if wanted.growth is not None:
        limit, rule = champion * (1 + wanted.growth), f"<= champion * {1 + wanted.growth:g}"
        yield Check("growth", figure, rule, value <= limit, value, champion, bound=limit)
