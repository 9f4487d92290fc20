"""The model card of a candidate, in the form that Hugging Face's hub reads: YAML on top, then sections for people.

Everything in it is computed from the facts: the same facts give the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from lineage.environment import Tower
from lineage.facts import CONFIDENCE, RESAMPLES, Facts, Figure
from lineage.scope import limits, misuses, uses
from lineage.wording import BASELINES, COSTS, GROUPS, group_of, metric_in_words, percent, slice_in_words

HEADLINES = ("leaf_accuracy", "image_to_text_recall@10", "text_to_image_recall@10", "title_to_product_recall@10")
RESULTS = {"Categories": "product-categorization", "Search by words": "product-search", "Search by photo": "product-search"}


def card(facts: Facts) -> str:
    """The card in Markdown."""
    top = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=120)
    sections = (
        ("Intended use", _intended(facts)),
        ("How it was trained", _training(facts)),
        ("Data", _data(facts)),
        ("Figures", _figures(facts)),
        ("Slices", _slices(facts)),
        ("Calibration", _calibration(facts)),
        ("Cost of serving", _costs(facts)),
        ("Limits", _bullets(limits(facts))),
        ("Verdict", _verdict(facts)),
        ("Licences", _licences(facts)),
        ("Identity", _identity(facts)),
    )
    body = [f"# {_plain(facts.name)}", *(line for title, lines in sections for line in ("", f"## {title}", "", *lines))]
    return "\n".join([f"---\n{top}---", "", *body, ""])


def front_matter(facts: Facts) -> dict[str, Any]:
    """The YAML of the card: what a model hub indexes. Nobody stated a licence of the model, so it is `unknown`."""
    return {
        "license": "unknown",
        "library_name": "goodsight",
        "tags": ["product-categorization", "product-search", "multimodal", facts.record["architecture"]],
        "model-index": [{"name": facts.name, "results": list(_results(facts))}],
    }


def _results(facts: Facts) -> Iterator[dict[str, Any]]:
    source = facts.manifest["source"]
    dataset = {"name": source, "type": source, "split": "test", "revision": facts.manifest["digest"]}
    for group, task in RESULTS.items():
        figures = [figure for figure in facts.figures if group_of(figure.metric) == group]
        metrics = [{"type": each.metric, "value": round(each.value, 6), "name": metric_in_words(each.metric)} for each in figures]
        if metrics:
            yield {"task": {"type": task, "name": group}, "dataset": dict(dataset), "metrics": metrics}


def _intended(facts: Facts) -> list[str]:
    return ["It is for:", "", *_bullets(uses(facts)), "", "It is not for:", "", *_bullets(misuses())]


def _training(facts: Facts) -> list[str]:
    config = facts.config
    rows = [
        ("architecture", facts.record["architecture"] + (f", variant {config['variant']}" if config["variant"] else "")),
        ("size", f"{facts.record['size']} (width {config['width']}, {config['layers']} joint layers)"),
        ("reads", ", ".join(config["modalities"])),
        ("image tower", f"{config['image_tower']}, {config['image_size']} pixels square"),
        ("text tower", f"{config['text_tower']}, {config['text_length']} word pieces"),
        ("towers", "trained along" if config["trained_towers"] else "frozen"),
    ]
    for task, provenance in facts.provenance.items():
        recipe = provenance.get("recipe", {})
        told = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in sorted(recipe.items()))
        rows.append((f"fine-tuned to {task}", told or "its recipe is not in the record"))
    return _table(("what", "value"), rows)


def _value(value: Any) -> str:
    """A list of objectives that is empty means all that the architecture has."""
    return (", ".join(map(str, value)) or "all") if isinstance(value, list) else str(value)


def _data(facts: Facts) -> list[str]:
    manifest, counts = facts.manifest, facts.evaluation["counts"]
    rows = [
        ("catalogue", manifest["source"]),
        ("snapshot", f"`{manifest['digest']}`"),
        *((name, f"{count:,}") for name, count in manifest["counts"].items() if count),
        ("held-out products", f"{counts.get('test_products', 0):,}"),
        ("split rule", manifest["split_rule"]),
        ("other languages", ", ".join(facts.languages) or "none measured"),
    ]
    licences = ((name, f"{count:,}") for name, count in manifest["licences"].items())
    return [*_table(("what", "value"), rows), "", *_table(("licence of the products", "products"), licences)]


def _figures(facts: Facts) -> list[str]:
    lines = [
        "On held-out products and queries, over the full gallery. Baselines are of the same items.",
        f"Intervals: {100 * CONFIDENCE:.0f} %, by {RESAMPLES:,} bootstrap draws of clusters of items.",
        "A figure without one is no mean of items.",
    ]
    for group in GROUPS:
        figures = [figure for figure in facts.figures if group_of(figure.metric) == group]
        kinds = [kind for kind in BASELINES if any(kind in figure.baselines for figure in figures)]
        names = ("figure", "value", "interval", "items", *(BASELINES[kind] for kind in kinds), "name")
        if figures:
            lines += ["", f"### {group}", "", *_table(names, (_figure(figure, kinds) for figure in figures))]
    return lines


def _figure(figure: Figure, kinds: Iterable[str]) -> tuple[str, ...]:
    baselines = (percent(figure.baselines[kind]) if kind in figure.baselines else "-" for kind in kinds)
    items = f"{figure.items:,}" if figure.items else "-"
    return (metric_in_words(figure.metric), percent(figure.value), _interval(figure), items, *baselines, f"`{figure.metric}`")


def _interval(figure: Figure) -> str:
    return " to ".join(map(percent, figure.interval)) if figure.interval else "-"


def _slices(facts: Facts) -> list[str]:
    shown = [metric for metric in HEADLINES if any(metric in figures for figures in facts.slices.values())]
    if not shown:
        return ["No part of the data has enough held-out products to be told apart."]
    rows = [
        (slice_in_words(name), metric_in_words(metric), percent(figure.value), _interval(figure), f"{figure.items:,}")
        for metric in shown
        for name, figures in facts.slices.items()
        if (figure := figures.get(metric))
    ]
    worst = _bullets(_worst(facts, metric) for metric in shown)
    return [*worst, "", *_table(("slice", "figure", "value", "interval", "items"), rows), "", *_subsets(facts)]


def _worst(facts: Facts, metric: str) -> str:
    measured = [(figures[metric].value, name) for name, figures in facts.slices.items() if metric in figures]
    value, name = min(measured)
    overall = facts.evaluation["metrics"].get(metric)
    beside = f", over all {percent(overall)}" if overall is not None else ""
    items = f"{facts.slices[name][metric].items:,} items"
    return f'Worst at "{metric_in_words(metric)}": {slice_in_words(name)}, {percent(value)} of {items}{beside}.'


def _subsets(facts: Facts) -> list[str]:
    """Leaf accuracy when a product shows a part of what it has."""
    rows = [(name.replace("+", " + "), percent(figures["leaf_accuracy"])) for name, figures in facts.evaluation["subsets"].items()]
    return _table(("shown of a product", metric_in_words("leaf_accuracy")), rows) if rows else []


def _calibration(facts: Facts) -> list[str]:
    error = facts.evaluation["metrics"].get("category_calibration_error")
    if error is None:
        return ["Not measured."]
    told = "The probability that it gives its category and how often that category is right differ by"
    return [f"{told} {100 * error:.1f} points on average (expected calibration error, 15 bins)."]


def _costs(facts: Facts) -> list[str]:
    costs = facts.evaluation["costs"]
    rows = [(words, f"{costs[name]:,.{1 if name.endswith('_ms') else 0}f}") for name, words in COSTS.items() if name in costs]
    if not rows:
        return ["Not measured."]
    return ["Of single requests, on the CPU of the machine of the run.", "", *_table(("what", "value"), rows)]


def _verdict(facts: Facts) -> list[str]:
    verdict = facts.verdict
    rows = [
        (metric_in_words(check["metric"]), check["name"].replace("_", " "), check["slice"], check["rule"], check["outcome"])
        for check in verdict["checks"]
    ]
    against = f"against the champion `{verdict['champion']['digest']}`" if verdict.get("champion") else "without a champion to compare with"
    return [
        f"The gate decided **{verdict['decision']}**, {against}, by the policy `{verdict['policy']}`.",
        "",
        *_table(("figure", "check", "slice", "rule", "result"), rows),
    ]


def _licences(facts: Facts) -> list[str]:
    products = ", ".join(f"{name} ({count:,})" for name, count in facts.manifest["licences"].items()) or "not stated"
    return [
        *_bullets([*map(_tower, facts.towers), f"Products that it learned from: {products}."]),
        "",
        "No licence of the model itself has been stated.",
    ]


def _tower(tower: Tower) -> str:
    if tower.library is None:
        return f"Pretrained tower `{tower.name}`, from a model hub or a folder: its licence is not in the record."
    package = f"package {tower.library.name} {tower.library.version}"
    return f"Pretrained tower {tower.title} ({package}), {tower.licence}, learned from {tower.learned_from}; weights `{tower.weights}`."


def _identity(facts: Facts) -> list[str]:
    bundles = [(f"bundle {task}", f"`{digest}`") for task, digest in sorted(facts.record["bundles"].items())]
    return _table(("what", "digest"), [("candidate", f"`{facts.record['digest']}`"), *bundles])


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"- {_plain(line)}" for line in lines]


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [_row(names), "|" + " --- |" * len(names), *map(_row, rows)]


def _row(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: Any) -> str:
    """`text` in one line and one cell: names in it are users' own."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
