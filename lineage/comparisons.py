"""Candidate against champion on the same items, by metric and slice: all comparisons are judged together (Holm)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from lineage.checks import WHOLE, Check, Evidence
from lineage.evaluation import Evaluation, Items
from lineage.policy import Kind, Policy
from lineage.statistics import PairedBootstrap, holm


@dataclass(frozen=True)
class _Asked:
    """One comparison that the policy asks for."""

    metric: str
    slice: str
    kind: Kind
    margin: float
    min_items: int

    @property
    def bound(self) -> float:
        """What the true difference must be shown to lie above."""
        return 0.0 if self.kind == "superiority" else -self.margin

    @property
    def rule(self) -> str:
        return "better than the champion" if self.kind == "superiority" else f"not worse than the champion by {self.margin:g} or more"

    def unjudged(self, why: str, ours: Evaluation, theirs: Evaluation) -> Check:
        metrics = (ours.metrics.get(self.metric), theirs.metrics.get(self.metric)) if self.slice == WHOLE else (None, None)
        return Check(self.kind, self.metric, f"{why}: {self.rule} was not judged", None, *metrics, slice=self.slice)


@dataclass(frozen=True)
class _Pairs:
    """Items that both were scored on, of one metric and slice."""

    candidate: np.ndarray
    champion: np.ndarray
    clusters: np.ndarray


def compared(ours: Evaluation, theirs: Evaluation, policy: Policy) -> list[Check]:
    """A check for each comparison of the policy, in its order; those with too few items in common are unjudged."""
    asked = list(_asked(ours, policy))
    checks: list[Check | None] = []
    found: list[tuple[_Asked, _Pairs, PairedBootstrap]] = []
    for each in asked:
        pairs = _paired(ours.items.get(each.metric), theirs.items.get(each.metric), each.slice)
        if each.metric not in theirs.metrics:
            checks.append(each.unjudged("not in the champion's evaluation", ours, theirs))
        elif len(pairs.clusters) < each.min_items:
            checks.append(each.unjudged(f"{len(pairs.clusters)} items in common, {each.min_items} needed", ours, theirs))
        else:
            checks.append(None)
            differences = pairs.candidate - pairs.champion
            found.append((each, pairs, PairedBootstrap(differences, pairs.clusters, policy.resamples, policy.seed)))
    judged = iter(_judged(found, policy))
    return [check or next(judged) for check in checks]


def _asked(ours: Evaluation, policy: Policy) -> Iterator[_Asked]:
    for metric, rule in policy.metrics.items():
        if rule.margin is not None and metric in ours.metrics:
            yield _Asked(metric, WHOLE, rule.comparison, rule.margin, policy.min_items_in_common)
    for part in policy.slices:
        for metric in part.metrics:
            names = ours.items[metric].slices if metric in ours.items else ()
            for name in names:
                if any(fnmatchcase(name, pattern) for pattern in part.within):
                    yield _Asked(metric, name, "non_inferiority", part.margin, part.min_items)


def _paired(ours: Items | None, theirs: Items | None, part: str) -> _Pairs:
    """The items that both have, in the slice `part` as the candidate's evaluation says; none when either has no items."""
    if ours is None or theirs is None:
        return _Pairs(np.empty(0), np.empty(0), np.empty(0))
    _, left, right = np.intersect1d(ours.ids, theirs.ids, assume_unique=True, return_indices=True)
    if part != WHOLE:
        inside = ours.slices[part][left]
        left, right = left[inside], right[inside]
    return _Pairs(ours.values[left], theirs.values[right], ours.clusters[left])


def _judged(found: list[tuple[_Asked, _Pairs, PairedBootstrap]], policy: Policy) -> Iterator[Check]:
    p = [bootstrap.p_not_above(asked.bound) for asked, _, bootstrap in found]
    adjusted, levels = holm(p, policy.alpha)
    for (asked, pairs, bootstrap), own, corrected, level in zip(found, p, adjusted, levels, strict=True):
        evidence = Evidence(
            items=len(pairs.clusters),
            clusters=bootstrap.clusters,
            difference=bootstrap.difference,
            confidence_interval=bootstrap.interval(level),
            level=level,
            p=own,
            adjusted_p=corrected,
            minimum_detectable_effect=bootstrap.minimum_detectable_effect(level, policy.power),
        )
        passed = corrected <= policy.alpha
        means = float(pairs.candidate.mean()), float(pairs.champion.mean())
        outcome = _outcome(passed, evidence, asked.margin)
        yield Check(asked.kind, asked.metric, asked.rule, passed, *means, asked.slice, asked.bound, evidence, outcome)


def _outcome(passed: bool, evidence: Evidence, margin: float) -> str:
    """Not shown is not shown to be false: with items that could not show the margin, there is no evidence either way."""
    if passed:
        return "passed"
    worse = evidence.confidence_interval[1] < 0
    return "no evidence" if evidence.minimum_detectable_effect > margin and not worse else "failed"
