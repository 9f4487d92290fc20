"""The gate in made worlds whose truth is known: how often it is wrong, and what it finds, beside a gate that takes the higher mean.

    python benchmarks/gate.py [--worlds 1000]

A world is a candidate and a champion that answer the same items: hits and misses of three metrics, alike as two models of
one architecture are, in product groups whose items tend to be won or lost together, from five sources. The truth is the
difference of their hit rates. Every world is judged by `lineage.gate.judge` as a run judges its evaluations. The naive
gate promotes when no metric of the policy has a lower mean than the champion's. Writes `benchmarks/results/gate.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import described
from scipy.stats import binomtest, norm

from lineage.evaluation import Evaluation, Items
from lineage.gate import judge
from lineage.policy import Policy

HERE = Path(__file__).resolve().parent
RATES = {"leaf_accuracy": 0.85, "query_to_product_recall@1": 0.86, "image_to_product_recall@1": 0.78}
LEAF, QUERIES = "leaf_accuracy", "query_to_product_recall@1"
GAIN, FEW_QUERIES = 0.1, 75  # a gain that 300 items show, and queries that cannot show the margin
SOURCES = 5
GROUPED, SHARED = 0.3, 0.62  # parts of the variance behind an answer: its product group's, and the item's for both models
OWN_GROUPED = 0.5  # of the rest, which differs between the models: the part that a group has in common
FEWEST_FOR_SLICES = 1000  # items
LEVEL, POWER, MARGIN, SLICE_MARGIN = 0.05, 0.8, 0.05, 0.1
Judged = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Truth:
    """Candidate minus champion in hit rate: of every metric, on top of it of one source, and on top of it of the queries.

    `queries`: how many of the items are queries, where those are fewer.
    """

    difference: float = 0.0
    of_a_source: float = 0.0
    of_queries: float = 0.0
    queries: int | None = None


def answers(rate: np.ndarray, shared: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hits (items,) of one model, right at `rate` (items,) of its items."""
    own = np.sqrt(OWN_GROUPED) * rng.normal(size=group.max() + 1)[group] + np.sqrt(1 - OWN_GROUPED) * rng.normal(size=len(group))
    return (shared + np.sqrt(1 - GROUPED - SHARED) * own < norm.ppf(rate)).astype(float)


def world(items: int, truth: Truth, rng: np.random.Generator) -> tuple[Evaluation, Evaluation]:
    """Evaluations of a candidate and a champion; groups have one to four items and come from one source."""
    group = np.repeat(np.arange(items), rng.integers(1, 5, size=items))[:items]
    source = rng.integers(SOURCES, size=items)[group]
    ids, clusters = np.arange(items).astype(str), group.astype(str)
    slices = {f"source={number}": source == number for number in range(SOURCES)}
    sides: tuple[dict[str, Items], dict[str, Items]] = ({}, {})
    for metric, rate in RATES.items():
        shared = np.sqrt(GROUPED) * rng.normal(size=items)[group] + np.sqrt(SHARED) * rng.normal(size=items)
        champion = np.full(items, rate)
        candidate = champion + truth.difference + truth.of_a_source * (source == 0) + truth.of_queries * (metric == QUERIES)
        few = slice(truth.queries if metric == QUERIES else None)
        for side, rates in zip(sides, (candidate, champion), strict=True):
            values = answers(rates, shared, group, rng)[few]
            side[metric] = Items(ids[few], values, clusters[few], {name: inside[few] for name, inside in slices.items()})
    means = ({metric: float(found.values.mean()) for metric, found in side.items()} for side in sides)
    candidate_side, champion_side = (
        Evaluation(name, "world", figures, items=side) for name, figures, side in zip("ab", means, sides, strict=True)
    )
    return candidate_side, champion_side


def policy(kind: str, metrics: list[str], margin: float = MARGIN, slices: bool = False) -> Policy:
    """A policy that asks for nothing but the comparison."""
    within = [{"metrics": [LEAF], "within": ["source=*"], "margin": SLICE_MARGIN, "min_items": 30}] if slices else []
    rules = {metric: {"required": False, "comparison": kind, "margin": margin} for metric in metrics}
    undecided = Policy.load().undecided
    numbers = {"confidence": 1 - LEVEL, "power": POWER, "resamples": Policy.load().resamples, "seed": 0, "min_items_in_common": 30}
    return Policy.model_validate({**numbers, "metrics": rules, "slices": within, "undecided": undecided})


def naive(candidate: Evaluation, champion: Evaluation, rules: Policy) -> bool:
    """Whether no mean of the policy's metrics is lower and one is higher."""
    gains = [candidate.metrics[metric] - champion.metrics[metric] for metric in rules.metrics]
    return min(gains) >= 0 < max(gains)


def promoted(verdict: dict[str, Any]) -> bool:
    return bool(verdict["decision"] == "promote")


def any_shown(verdict: dict[str, Any]) -> bool:
    return any(check["outcome"] == "passed" for check in verdict["checks"] if check["p"] is not None)


def slice_refused(verdict: dict[str, Any]) -> bool:
    """Whether the source that lost is among the checks that did not pass."""
    return any(check["slice"] == "source=0" and check["pass"] is False for check in verdict["checks"])


def share(count: int, worlds: int) -> dict[str, float]:
    """The share of worlds with its 95 % interval (Wilson)."""
    interval = binomtest(count, worlds).proportion_ci(method="wilson")
    return {"rate": count / worlds, "low": float(interval.low), "high": float(interval.high)}


def scenario(items: int, truth: Truth, rules: Policy, counted: dict[str, Judged], worlds: int, seed: int) -> dict[str, Any]:
    """How often each of `counted` holds of our verdict and how often the naive gate promotes, in the same worlds."""
    rng = np.random.default_rng([seed, items])
    ours, theirs, effects = dict.fromkeys(counted, 0), 0, []
    for _ in range(worlds):
        candidate, champion = world(items, truth, rng)
        verdict = judge(candidate, champion, rules)
        for what, holds in counted.items():
            ours[what] += holds(verdict)
        theirs += naive(candidate, champion, rules)
        effects.append(verdict["checks"][0]["minimum_detectable_effect"])
    return {
        "difference": truth.difference,
        "difference_of_a_source": truth.of_a_source,
        "comparisons": len(verdict["checks"]),
        "gate": {what: share(count, worlds) for what, count in ours.items()},
        "naive": share(theirs, worlds),
        "minimum_detectable_effect": float(np.median(effects)),
    }


def scenarios(items: int, worlds: int, seed: int) -> dict[str, dict[str, Any]]:
    """Each by its name. The effect at which power is measured is the one that the gate printed where there was no difference."""
    one, every = [LEAF], list(RATES)
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, truth: Truth, rules: Policy, **counted: Judged) -> None:
        started = time.perf_counter()
        found[name] = scenario(items, truth, rules, counted or {"promoted": promoted}, worlds, seed)
        rates = ", ".join(f"{what} {value['rate']:.1%}" for what, value in found[name]["gate"].items())
        took = f"{time.perf_counter() - started:.0f} s"
        print(f"{items} items, {name}: {rates}; naive {found[name]['naive']['rate']:.1%} ({took})", flush=True)

    add("no difference, superiority", Truth(), policy("superiority", one))
    effect = found["no difference, superiority"]["minimum_detectable_effect"]
    add("better by the printed effect, superiority", Truth(effect), policy("superiority", one))
    add("no difference, superiority of three metrics", Truth(), policy("superiority", every), any_shown=any_shown)
    add("worse by the margin, non-inferiority", Truth(-MARGIN), policy("non_inferiority", one))
    add("no difference, non-inferiority by the printed effect", Truth(), policy("non_inferiority", one, effect))
    if items < FEWEST_FOR_SLICES:
        rules = policy("non_inferiority", [LEAF, QUERIES])
        for name, gain, loss in (
            ("no gain, few queries", 0.0, 0.0),
            ("a gain, few queries", GAIN, 0.0),
            ("a gain, few queries worse by the margin", GAIN, MARGIN),
            ("a gain, few queries worse by twice the margin", GAIN, 2 * MARGIN),
        ):
            add(name, Truth(gain, of_queries=-gain - loss, queries=FEW_QUERIES), rules)
        return found
    at_margins = policy("non_inferiority", every, SLICE_MARGIN, slices=True)
    add("worse by the margin in all metrics and sources", Truth(-SLICE_MARGIN), at_margins, any_shown=any_shown)
    rules = policy("non_inferiority", every, slices=True)
    add("no difference, metrics and sources", Truth(), rules)
    worse_source = {"promoted": promoted, "source_named": slice_refused}
    add("better on the whole, a source worse by 16 points", Truth(0.06, -0.22), rules, **worse_source)
    return found


TOLD = {  # what is counted, in the words of the table
    ("no difference, superiority", "promoted"): "no difference: promoted as superior",
    ("no difference, superiority of three metrics", "any_shown"): "no difference: any of three metrics shown superior",
    ("worse by the margin, non-inferiority", "promoted"): "worse by the margin: promoted as not inferior",
    ("worse by the margin in all metrics and sources", "any_shown"): "worse by the margin everywhere: any of 8 comparisons shown not to be",
    ("better by the printed effect, superiority", "promoted"): "better by the effect that the gate prints: promoted as superior",
    ("no difference, non-inferiority by the printed effect", "promoted"): "no difference, that effect the margin: promoted as not inferior",
    ("no difference, metrics and sources", "promoted"): "no difference: promoted by 8 comparisons, metrics and sources",
    ("no gain, few queries", "promoted"): "no difference, 75 queries only: promoted",
    ("a gain, few queries", "promoted"): "leaf accuracy 10 points better, 75 queries answered as well: promoted",
    ("a gain, few queries worse by the margin", "promoted"): "the same gain, 75 queries answered worse by the margin: promoted",
    ("a gain, few queries worse by twice the margin", "promoted"): "the same gain, 75 queries answered worse by twice the margin: promoted",
    ("better on the whole, a source worse by 16 points", "promoted"): "1.6 points better, one of five sources 16 worse: promoted",
    ("better on the whole, a source worse by 16 points", "source_named"): "the same worlds: that source is among what did not pass",
}


def table(report: dict[str, Any]) -> str:
    """Markdown of a report: shares of worlds in per cent, ours with its 95 % interval."""
    rows = ["| world, and what is counted | items | gate, % | higher mean promotes, % |", "|---|---|---|---|"]
    for (name, what), words in TOLD.items():
        for items, found in report["scenarios"].items():
            if name in found:
                rate, low, high = (100 * found[name]["gate"][what][part] for part in ("rate", "low", "high"))
                cells = (words, f"{int(items):,}", f"{rate:.1f} ({low:.1f} to {high:.1f})", f"{100 * found[name]['naive']['rate']:.1f}")
                rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=17)
    chosen = parser.parse_args()
    started = time.perf_counter()
    report = {
        "benchmark": "gate",
        **described(),
        "worlds": chosen.worlds,
        "level": LEVEL,
        "power": POWER,
        "margin": MARGIN,
        "slice_margin": SLICE_MARGIN,
        "scenarios": {str(items): scenarios(items, chosen.worlds, chosen.seed) for items in (300, 2000)},
    }
    report["seconds"] = time.perf_counter() - started
    (HERE / "results" / "gate.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
