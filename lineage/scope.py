"""What a model is for and where it ends, said from its own record: the same sentences in the model card and in the ML-BOM."""

from __future__ import annotations

from collections.abc import Iterator

from lineage.facts import Facts, Figure
from lineage.wording import BASELINES, metric_in_words, percent

READS = {"text": "titles and descriptions", "image": "images", "table": "attributes", "video": "videos", "audio": "sounds"}
COUNTED = {"text_queries": "search by words", "image_queries": "search by photo", "image_text_pairs": "images against texts"}
PARTS = {"tail": "categories with few training products", "no image": "products without image", "no text": "products without text"}
FEW = 100  # items
USERS = ("teams that run a product catalogue: search, navigation, data quality",)


def uses(facts: Facts) -> list[str]:
    """What it was made and measured for."""
    by = " or photo" if "image" in facts.config["modalities"] else ""
    return [
        f"Naming the category of a product, one of the {facts.classes} that its catalogue has.",
        f"Finding products of the catalogue by words{by}.",
    ]


def misuses() -> list[str]:
    return [
        "Other catalogues than the one that it learned from: measure it on theirs first.",
        "Products of categories that it has not seen: it names one that it knows all the same.",
        "Anything about people, and decisions on what is legal, safe, genuine or worth its price: nothing of that was learned or measured.",
    ]


def limits(facts: Facts) -> list[str]:
    """What the record says against it; deterministic, in this order."""
    return [*_reading(facts), *_unmeasured(facts), *_figures(facts), *_unjudged(facts)]


def _reading(facts: Facts) -> Iterator[str]:
    reads = facts.config["modalities"]
    blind = [words for name, words in READS.items() if name not in reads]
    if blind:
        yield f"It does not read {_listed(blind)}."
    yield f"Of a text it reads the first {facts.config['text_length']} word pieces."
    if not facts.towers:
        yield "It starts from random weights instead of pretrained towers, as the tests of the platform do."


def _unmeasured(facts: Facts) -> Iterator[str]:
    counts = facts.evaluation["counts"]
    absent = [words for name, words in COUNTED.items() if not counts.get(name)]
    if absent:
        yield f"Not measured, for want of held-out items: {_listed(absent)}."
    apart = [words for name, words in PARTS.items() if name not in facts.slices]
    if apart:
        yield f"Not measured apart, for want of held-out products: {_listed(apart)}."
    if not facts.languages:
        yield "Titles in other languages than the catalogue's own were not measured."


def _figures(facts: Facts) -> Iterator[str]:
    for kind, words in BASELINES.items():
        better = [_beaten(figure, kind) for figure in facts.figures if figure.baselines.get(kind, 0.0) > figure.value]
        if better:
            yield f"{words[0].upper()}{words[1:]} does better at: {'; '.join(better)}."
    few = sorted({figure.items for figure in facts.figures if 0 < figure.items < FEW})
    if few:
        yield f"Some figures stand on few items ({few[0]} at the least): read their intervals."


def _beaten(figure: Figure, kind: str) -> str:
    return f"{metric_in_words(figure.metric)} ({percent(figure.baselines[kind])} against {percent(figure.value)})"


def _unjudged(facts: Facts) -> Iterator[str]:
    open_checks = sorted({check["metric"] for check in facts.verdict["checks"] if check["pass"] is None})
    if open_checks:
        yield f"The gate could not judge: {'; '.join(metric_in_words(metric) for metric in open_checks)}."
    for check in facts.verdict["checks"]:
        if why := check["override"]:
            told = f"{metric_in_words(check['metric'])}, {check['slice']}, {check['rule']}"
            yield f"A check that failed was overridden by {why['by']} until {why['until']} ({told}): {why['reason']}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
