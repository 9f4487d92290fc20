"""A verdict in words, like a referee's report: the decision, what was asked, each check with its figures, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SHORT = 12  # of a digest
OUTCOMES = ("failed", "no evidence", "outweighed", "overridden", "unjudged", "passed")
TRAINING = ("pretrain", "finetune", "evaluate")  # steps whose seconds a gain cost
COMPARISONS = {"non_inferiority": "not worse by {margin} or more", "superiority": "better"}
CEILINGS = {
    "ceiling": "the ceiling",
    "worsening": "the champion's with the worsening allowed",
    "growth": "the champion's with the growth allowed",
}
ADVICE = {
    "measured": "Hold out the products or queries that it is measured on, or take it out of the policy.",
    "floor": "Train longer or on more data; the plots of the run show which categories are weak.",
    "baseline": "Train longer or on more data: this is no better than what needs no model.",
    "ceiling": "Choose a smaller size or another architecture, or raise the ceiling in the policy.",
    "worsening": "Look at what changed since the champion, or allow more in the policy.",
    "growth": "Choose a smaller size or another architecture, or allow more growth in the policy.",
    "non_inferiority": "Look at what changed in the data since the champion (goodsight catalogue diff) and in which slices it is worse.",
    "superiority": "There is no gain to promote it for; ask for non-inferiority if it has other merits.",
}
APPEAL = (
    "To let it serve all the same, each failed check by itself: "
    "goodsight gate override --run {run} --check CHECK --reason WHY --until DAY; then run again."
)
MORE_DATA = "Hold out more products or queries, or state a wider margin in the policy."


@dataclass(frozen=True)
class Finding:
    """One check in words."""

    check: str
    outcome: str
    sentence: str
    advice: str = ""


@dataclass(frozen=True)
class Review:
    """The report: `decision`, `index`, `cost` and `appeal` (empty for a candidate that may serve) are one sentence each, `asked` some."""

    title: str
    promoted: bool
    decision: str
    asked: list[str]
    failed: list[Finding]
    outweighed: list[Finding]
    overridden: list[Finding]
    unjudged: list[Finding]
    passed: list[Finding]
    index: str
    cost: str
    appeal: str

    @property
    def sections(self) -> list[tuple[str, list[Finding]]]:
        """What is said about checks, the failed ones first; sections without any are left out."""
        named = [
            ("What failed, and what to do", self.failed),
            ("What too few items can rule out, and a gain outweighs", self.outweighed),
            ("What was overridden", self.overridden),
            ("What could not be judged", self.unjudged),
            ("What passed", self.passed),
        ]
        return [(title, findings) for title, findings in named if findings]


def review(verdict: dict[str, Any], run: dict[str, Any]) -> Review:
    """The report on a verdict and the run (its `result.json`) that it ended."""
    found: dict[str, list[Finding]] = {name: [] for name in OUTCOMES}
    for check in verdict["checks"]:
        found[check["outcome"]].append(_finding(check))
    failed = found["failed"] + found["no evidence"]
    return Review(
        title=f"Run {run['run_id']}",
        promoted=verdict["decision"] == "promote",
        decision=_decision(verdict, failed, len(found["overridden"]), len(found["outweighed"])),
        asked=list(_asked(verdict)),
        failed=failed,
        outweighed=found["outweighed"],
        overridden=found["overridden"],
        unjudged=found["unjudged"],
        passed=found["passed"],
        index=_index(verdict["index"]),
        cost=_cost(verdict, run),
        appeal=APPEAL.format(run=run["run_id"]) if failed else "",
    )


def lines(report: Review) -> Iterator[str]:
    """The report as text."""
    yield f"{report.title}. {report.decision}"
    yield ""
    yield from report.asked
    for title, findings in report.sections:
        yield from ("", f"{title} ({len(findings)})")
        for finding in findings:
            yield f"  [{finding.outcome}] {finding.check}: {finding.sentence}"
            yield from [f"      -> {finding.advice}"] if finding.advice else []
    yield from ("", f"Index. {report.index}", f"Cost. {report.cost}")
    yield from ["", report.appeal] if report.appeal else []


def shown(figure: str, value: float) -> str:
    """A figure in its unit: milliseconds, MiB, or per cent."""
    if figure.endswith("_ms"):
        return f"{value:,.1f} ms"
    return f"{value / 2**20:,.0f} MiB" if figure.endswith("_bytes") else f"{100 * value:.1f} %"


def points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _decision(verdict: dict[str, Any], failed: list[Finding], overridden: int, outweighed: int) -> str:
    judged = sum(check["pass"] is not None for check in verdict["checks"])
    candidate = f"The candidate {verdict['candidate']['digest'][:SHORT]}"
    if failed:
        names = ", ".join(finding.check for finding in failed)
        return f"{candidate} may not serve: {len(failed)} of {judged} checks that could be judged did not pass ({names})."
    if not judged:
        return f"{candidate} may not serve: no check could be judged."
    by_override = f", {overridden} of them by an override" if overridden else ""
    gain = f"; {outweighed} that too few items can decide are outweighed by the gain in {', '.join(verdict['gains'])}" if outweighed else ""
    return f"{candidate} may serve: all {judged} checks that could be judged passed{by_override}{gain}."


def _asked(verdict: dict[str, Any]) -> Iterator[str]:
    candidate, champion = verdict["candidate"], verdict["champion"]
    yield f"It was judged by the policy {verdict['policy'][:SHORT]} on snapshot {candidate['snapshot'][:SHORT]}."
    if champion is None:
        yield "Nothing serves yet: there is no champion to compare with, only floors, baselines and ceilings."
        return
    same = "the same snapshot" if champion["snapshot"] == candidate["snapshot"] else f"snapshot {champion['snapshot'][:SHORT]}"
    yield f"The champion {champion['digest'][:SHORT]} was measured on {same}, and compared item by item."
    count = sum(check["p"] is not None for check in verdict["checks"])
    if count:
        yield (
            f"{count} comparisons were judged together: the chance that one or more is taken for shown although it is not so is at most "
            f"{100 * (1 - verdict['confidence']):.3g} % (Holm). Intervals are those of the tests that decide."
        )


def _finding(check: dict[str, Any]) -> Finding:
    outcome = check["outcome"]
    sentence = _compared(check) if check["p"] is not None else _standing(check)
    if outcome == "overridden":
        why = check["override"]
        return Finding(check["id"], outcome, f"{sentence} Overridden by {why['by']} until {why['until']}: {why['reason']}")
    advice = {"failed": ADVICE[check["name"]], "no evidence": MORE_DATA}.get(outcome, "")
    return Finding(check["id"], outcome, sentence, advice)


def _standing(check: dict[str, Any]) -> str:
    """A check on figures alone, or one that could not be judged."""
    value, name, bound = check["candidate"], check["name"], check["bound"]
    if check["pass"] is None or value is None or (bound is None and name != "measured"):
        return f"{check['rule']}."
    told = shown(check["metric"], value)
    if name == "measured":
        return f"measured, {told}."
    limit = shown(check["metric"], bound)
    if name in CEILINGS:
        return f"{told}; {CEILINGS[name]} is {limit}."
    return f"{told}; the floor is {limit}." if name == "floor" else f"{told}; asked is {check['rule']}, that is {limit}."


def _compared(check: dict[str, Any]) -> str:
    low, high = check["confidence_interval"]
    margin, effect = f"{abs(100 * check['bound']):.3g} points", f"{100 * check['minimum_detectable_effect']:.1f} points"
    claim = COMPARISONS[check["name"]].format(margin=margin)
    grouped = "" if check["clusters"] == check["items"] else f" in {check['clusters']:,} independent groups"
    passed = check["outcome"] == "passed"
    told = f"is {'' if passed else 'not '}shown (adjusted p {check['adjusted_p']:.2g})"
    ours, theirs = (shown(check["metric"], check[side]) for side in ("candidate", "champion"))
    sentence = (
        f"{ours} against the champion's {theirs} on {check['items']:,} items{grouped}: {points(check['difference'])} points, "
        f"between {points(low)} and {points(high)}. That it is {claim} {told}."
    )
    if passed:
        return sentence
    if high < 0:
        return f"{sentence} It is worse: no difference is ruled out."
    if check["outcome"] in ("no evidence", "outweighed"):
        untold = f"so few items cannot tell a difference below {effect} from none{_items_needed(check)}"
        return f"{sentence} Too little data, which is not the same as no difference: {untold}."
    return f"{sentence} As many items would have shown a difference of {effect}."


def _items_needed(check: dict[str, Any]) -> str:
    """How many items would show the margin: the effect that they tell shrinks with the root of their number."""
    if not check["bound"]:
        return ""
    return f"; some {_rounded(check['items'] * (check['minimum_detectable_effect'] / check['bound']) ** 2):,} items would show the margin"


def _rounded(count: float) -> int:
    """To two figures, upwards."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit


def _index(index: dict[str, Any]) -> str:
    figures, largest = "", index["largest_difference"]
    if largest is not None:
        allowed = f"allowed is {index['tolerance']:g}"
        figures = f" (by up to {largest:.2g} of their length on {index['products']} products; {allowed})"
    what = {"keep": "The champion's index can be kept", "reindex": "The products must be embedded anew"}[index["decision"]]
    return f"{what}: {index['reason']}{figures}."


def _cost(verdict: dict[str, Any], run: dict[str, Any]) -> str:
    """Seconds of training and evaluation in this run for each point of the primary metric gained over the champion."""
    steps = [step for step in run["steps"] if step["name"].startswith(TRAINING)]
    seconds = sum(step["seconds"] for step in steps)
    spent = f"Training and evaluation took {seconds:,.0f} s in this run"
    if any(step["cached"] for step in steps):
        spent += f", {sum(step['cached'] for step in steps)} of {len(steps)} steps from the cache"
    primary = verdict["primary"]
    whole = [check for check in verdict["checks"] if check["p"] is not None and check["slice"] == "all"]
    gains = [100 * check["difference"] for check in whole if check["metric"] == primary]
    if not gains:
        return f"{spent}; no gain over a champion is known."
    if gains[0] <= 0:
        return f"{spent}, and {primary} gained nothing over the champion ({gains[0]:+.1f} points)."
    return f"{spent}: {seconds / gains[0]:,.0f} s for each of the {gains[0]:+.1f} points of {primary} over the champion."
