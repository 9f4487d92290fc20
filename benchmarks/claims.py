"""The claims of the papers, each judged by the result files of `pretraining.py` and `step_cost.py`.

    python benchmarks/claims.py

writes `docs/models/claims.md`. A claim is a comparison of two variants by one figure, the mean of some test figures, chosen when
there was one seed of some variants and none of others. Its difference is taken seed by seed, with a 95 % interval (Student).
*Reproduced* is said where the whole interval lies above zero, *not reproduced* otherwise; of fewer than `SEEDS` nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from intervals import interval
from tables import FIGURES

from goodsight.files import read_json, write_bytes

HOUSE = Path(__file__).resolve().parents[1]
RESULTS, PAGE = HOUSE / "benchmarks" / "results", HOUSE / "docs" / "models" / "claims.md"
Runs = dict[str, list[dict[str, Any]]]

FOUR = ("image_to_text_recall@1", "query_to_product_recall@1", "image_to_product_recall@1", "leaf_accuracy")
CATEGORY = ("leaf_accuracy", "category_prec@10")
NAMES = {**FIGURES, "category_prec@10": "category precision@10"}
SEEDS = 3  # that a verdict takes: the interval of two is thirteen standard errors wide
STEP_COSTS = {"step-cost": "two CPU cores", "step-cost-cuda": "a GPU"}  # result file -> where it was measured
LEAST_LOST = 1.0  # points of quality that the cheapest point may lose
MOST_STEP_RATIO = 2.5  # of 14 objectives to contrast alone


@dataclass(frozen=True)
class Claim:
    """`better` beats `worse` by the mean of `figures` on a catalogue; `other`: the figure that stands for `worse`, where it differs."""

    paper: str
    words: str
    catalogue: str
    better: str
    worse: str
    figures: tuple[str, ...]
    other: tuple[str, ...] = ()
    margin: float = 0.0  # points that `better` may lose


CLAIMS = (
    Claim("CommerceMM", "matching added to contrast helps", "shop", "+itm", "itc", FOUR),
    Claim("CommerceMM", "masked words added to that help", "shop", "+mlm", "+itm", FOUR),
    Claim("CommerceMM", "masked image tokens added to that help", "shop", "+mim", "+mlm", FOUR),
    Claim("CommerceMM", "Omni-Retrieval added to that helps", "shop", "+omni", "+mim", FOUR),
    Claim("CommerceMM", "all 14 tasks beat contrast alone", "shop", "+omni", "itc", FOUR),
    Claim("ECLIP", "instance-level beats image-level representation without fine-tuning", "shop", "eclip", "eclip itc", FOUR),
    Claim(
        "ECLIP",
        "it grounds the product without annotations (here from pasted scenes): its map against the similarity map of contrast",
        "shop",
        "eclip",
        "eclip itc",
        ("pointing_instance",),
        ("pointing_image_level",),
    ),
    Claim("SCALE", "images help, added to text", "furniture", "scale T+I", "scale T", CATEGORY),
    Claim("SCALE", "tables help, added to that", "furniture", "scale T+I+Tab", "scale T+I", CATEGORY),
    Claim("SCALE", "video helps, added to that", "furniture", "scale T+I+Tab+V", "scale T+I+Tab", CATEGORY),
    Claim("SCALE", "sound helps, added to that", "furniture", "scale", "scale T+I+Tab+V", CATEGORY),
    Claim("SCALE", "contrast weighted by the samples (SIMCL) beats uniform weights", "furniture", "scale", "scale uniform", CATEGORY),
    Claim(
        "SCALE",
        "training on incomplete products too beats complete ones alone",
        "furniture",
        "scale damaged",
        "scale damaged, complete only",
        CATEGORY,
    ),
    Claim("InterBERT", "masked segments and masked regions help, added to matching", "shop", "interbert", "interbert itm", FOUR),
    Claim(
        "InterBERT",
        "the text stream stays as strong as a text model alone (here the frozen tower)",
        "shop",
        "interbert",
        "itc",
        ("text_leaf_accuracy",),
        margin=1.0,
    ),
)
UNTESTABLE = (
    ("CommerceMM", "transfer to seven tasks of a marketplace after pretraining on 10^8 pairs", "neither the data nor the size"),
    ("ECLIP", "100 million products", "neither the data nor the size"),
    ("InterBERT", "online gain in recommendation by topic", "no shop with visitors"),
)


def differences(runs: Runs, claim: Claim) -> list[list[float]]:
    """Of each seed that both variants have: the difference of each figure, in points."""
    names = list(zip(claim.figures, claim.other or claim.figures, strict=True))
    worse = {row["seed"]: row["pretrained"] for row in runs.get(claim.worse, [])}
    better = [(row["pretrained"], worse[row["seed"]]) for row in runs.get(claim.better, []) if row["seed"] in worse]
    return [[100 * (one[name] - other[against]) for name, against in names] for one, other in better]


def verdict(values: Sequence[float], least: float) -> str:
    """What one value a seed says of the claim that they are more than `least`."""
    if len(values) < SEEDS:
        return f"{counted(values)}, no verdict yet" if values else "not measured yet"
    middle, half = interval(values)
    assert half is not None
    return "*reproduced*" if middle - half > least else "*not reproduced*"


def counted(values: Sequence[float]) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{len(values)} seed{'s' * (len(values) > 1)}"


def told(values: Sequence[float], unit: str) -> str:
    """`+1.2 ± 0.3 points, 3 seeds`."""
    if not values:
        return "-"
    middle, half = interval(values)
    return f"{middle:+.1f}{'' if half is None else f' ± {half:.1f}'} {unit}, {counted(values)}"


def row_of(claim: Claim, runs: Runs) -> str:
    rows = differences(runs, claim)
    values = [mean(row) for row in rows]
    each = [f"{NAMES.get(name, name)} {mean(column):+.1f}" for name, column in zip(claim.figures, zip(*rows, strict=True), strict=False)]
    shown = told(values, "points") + (f" ({', '.join(each)})" if len(each) > 1 else "")
    measured = f"`{claim.better}` against `{claim.worse}`, [{claim.catalogue}](pretraining-{claim.catalogue}.md)"
    return f"| {claim.paper} | {claim.words} | {measured} | {shown} | {verdict(values, -claim.margin)} |"


def page(results: dict[str, dict[str, Any]]) -> str:
    """Markdown of all claims; `results` are the result files by name, of which those of `pretraining.py` may be missing."""
    return "\n".join(_page(results)) + "\n"


def _page(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# What the papers claim, and what holds here"
    yield ""
    yield "Made by `benchmarks/claims.py` from the result files of `benchmarks/pretraining.py` and `benchmarks/step_cost.py`. A claim"
    yield "is *reproduced* where the 95 % interval of the difference, taken seed by seed, lies wholly above zero (for *as strong as*,"
    yield "above -1); the difference is the mean of the test figures in brackets, all as pretrained at `small`, minutes of training:"
    yield "what holds here may not hold at the papers' sizes, and the other way round."
    yield ""
    yield "| paper | claim | measured by | difference | here |"
    yield "|---|---|---|---|---|"
    for claim in CLAIMS:
        yield row_of(claim, results.get(f"pretraining-{claim.catalogue}", {}).get("runs", {}))
    ratios = {name: results[name]["ratio"] for name in STEP_COSTS if name in results}
    held = "*reproduced*" if max(ratios.values()) <= MOST_STEP_RATIO else "*not reproduced*"
    where = ", ".join(f"[{words}](../../benchmarks/results/{name}.json)" for name, words in STEP_COSTS.items())
    how = f"step cost, towers in the step: {where}"
    cost = f"{' and '.join(f'{ratio:.2f}' for ratio in ratios.values())} times contrast alone (at most {MOST_STEP_RATIO})"
    yield f"| CommerceMM | 14 tasks need only two updates a step | {how} | {cost} | {held} |"
    yield _curve(results.get("pretraining-shop", {}).get("runs", {}), results["step-cost"]["curve"])
    for paper, words, why in UNTESTABLE:
        yield f"| {paper} | {words} | - | {why} | *not testable here* |"


def _curve(runs: Runs, costs: list[dict[str, float]]) -> str:
    """Modality randomization: the cheapest reading of the same weights against the dearest; reproduced if it costs no quality.

    Quality is of `pretraining.py`, the time a page takes of `step_cost.py`, measured with nothing beside.
    """
    curves = [row["curve"] for row in runs.get("+omni", []) if "curve" in row]
    gained = [100 * mean(curve[-1][name] - curve[0][name] for name in FOUR) for curve in curves]
    saved = 100 * (1 - costs[-1]["ms_a_page"] / costs[0]["ms_a_page"])
    shown = f"the cheapest point saves {saved:.0f} % of the time; quality {told(gained, 'points')} (mean of the four figures)"
    claim = "one set of weights gives many points of cost and quality (modality randomization)"
    how = "curve of `+omni`, [shop](pretraining-shop.md), [cost](../../benchmarks/results/step-cost.json)"
    return f"| CommerceMM | {claim} | {how} | {shown if curves else '-'} | {verdict(gained, -LEAST_LOST)} |"


def known_results() -> dict[str, dict[str, Any]]:
    names = ("pretraining-shop", "pretraining-furniture", *STEP_COSTS)
    return {name: read_json(RESULTS / f"{name}.json") for name in names if (RESULTS / f"{name}.json").is_file()}


def main() -> None:
    write_bytes(PAGE, page(known_results()).encode())


if __name__ == "__main__":
    main()
