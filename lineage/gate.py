"""The gate: may this candidate replace the champion? Two evaluations and a policy in, a verdict with its evidence out.

Floors, baselines and ceilings are judged on figures (`checks`), the comparison with the champion by metric and slice on
the items that both were scored on (`comparisons`, `statistics`). What could not be judged is in the verdict too, with
`pass: null`; what was overridden says by whom, why and until when. Where too few items can rule a loss out, a gain that is
shown may outweigh it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lineage.checks import WHOLE, Check, standing_checks
from lineage.comparisons import compared
from lineage.evaluation import Evaluation
from lineage.overrides import Override
from lineage.policy import Policy


def decide(candidate: Path, champion: Path | None, policy: Policy, overrides: Sequence[Override] = ()) -> dict[str, Any]:
    """The verdict on the evaluation folder `candidate` against that of the champion, None when nothing serves yet.

    `decision` is `promote` when no check failed and at least one passed, else `reject`; a failed check that one of
    `overrides` (those in force, `overrides.in_force`) covers passes. The same arguments give the same verdict. Raises
    `InputError` when a folder is not an evaluation.
    """
    return judge(Evaluation.read(candidate), Evaluation.read(champion) if champion else None, policy, overrides)


def judge(ours: Evaluation, theirs: Evaluation | None, policy: Policy, overrides: Sequence[Override] = ()) -> dict[str, Any]:
    """The verdict on evaluations in memory."""
    found = [*standing_checks(ours, theirs, policy), *(compared(ours, theirs, policy) if theirs else ())]
    gains = [check.metric for check in found if check.slice == WHOLE and check.evidence and check.evidence.superior]
    weighed = [_outweighed(check) for check in found] if gains and policy.undecided == "weigh" else found
    checks = [_overridden(check, ours.candidate, overrides) for check in weighed]
    outcomes = [check.passed for check in checks]
    return {
        "decision": "promote" if True in outcomes and False not in outcomes else "reject",
        "gains": gains,
        "checks": [check.to_json() for check in checks],
        "candidate": ours.summary(),
        "champion": theirs.summary() if theirs else None,
        "policy": policy.digest,
        "confidence": policy.confidence,
        "power": policy.power,
        "primary": policy.primary,
        "index": index_decision(ours, theirs, policy.index_tolerance),
    }


def _outweighed(check: Check) -> Check:
    """A comparison that too few items decide stops no candidate with a gain, unless the loss seen is the margin or more."""
    undecided = check.outcome == "no evidence" and check.name == "non_inferiority"
    if undecided and check.evidence and check.bound is not None and check.evidence.difference > check.bound:
        return replace(check, passed=None, outcome="outweighed")
    return check


def _overridden(check: Check, candidate: str, overrides: Sequence[Override]) -> Check:
    if check.passed is not False:
        return check
    for override in overrides:
        if override.covers(check.id, candidate):
            why = {"by": override.by, "reason": override.reason, "until": override.until}
            return replace(check, passed=True, outcome="overridden", override=why)
    return check


def index_decision(ours: Evaluation, theirs: Evaluation | None, tolerance: float) -> dict[str, Any]:
    """Whether the champion's index serves the candidate too: `keep` or `reindex`, with the figures.

    It does when both have the same retrieve bundle, or when the embeddings of the same products differ by no more than
    `tolerance` of their length.
    """
    figures: dict[str, Any] = {"products": 0, "largest_difference": None, "tolerance": tolerance}
    if theirs is None:
        return {"decision": "reindex", "reason": "nothing serves yet", **figures}
    own = ours.bundles.get("retrieve")
    if own and own == theirs.bundles.get("retrieve"):
        return {"decision": "keep", "reason": "the same retrieve bundle", **figures}
    both = sorted(ours.vectors.keys() & theirs.vectors.keys())
    if not both:
        return {"decision": "reindex", "reason": "no embeddings of the same products", **figures}
    new, old = (np.stack([each.vectors[product] for product in both]) for each in (ours, theirs))
    if new.shape != old.shape:
        reason = f"embeddings of {new.shape[1]} numbers, the champion's of {old.shape[1]}"
        return {"decision": "reindex", "reason": reason, **figures}
    largest = float((np.linalg.norm(new - old, axis=1) / np.linalg.norm(old, axis=1).clip(min=1e-12)).max())
    figures |= {"products": len(both), "largest_difference": largest}
    agree = largest <= tolerance
    reason = "embeddings of the same products agree" if agree else "embeddings of the same products differ"
    return {"decision": "keep" if agree else "reindex", "reason": reason, **figures}
