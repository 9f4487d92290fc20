"""The result of `pretraining.py` as a page of tables: means over the seeds, with half the width of their 95 % interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FIGURES = {
    "image_to_text_recall@1": "image -> text R@1",
    "query_to_product_recall@1": "query -> product R@1",
    "query_to_product_map": "query -> product mAP",
    "image_to_product_recall@1": "photo -> product R@1",
    "leaf_accuracy": "leaf",
}
OTHERS = {
    "text_leaf_accuracy": "leaf, text alone",
    "category_prec@10": "category precision@10",
    "scale_map@10": "SCALE's mAP@10",
    "pointing_instance": "pointing, instance map",
    "pointing_image_level": "pointing, image-level map",
    "pointing_chance": "pointing, chance",
}
STAGES = {
    "pretrained": "As pretrained; the category by a ridge classifier on the vectors of the pages",
    "finetuned": "Fine-tuned for each task alone",
}


def page(report: dict[str, Any]) -> str:
    """Markdown of a whole report."""
    return "\n".join(_page(report)) + "\n"


def _page(report: dict[str, Any]) -> Iterator[str]:
    yield f"# {report['benchmark']}"
    yield ""
    yield f"Made by `benchmarks/pretraining.py` from [its result file](../../benchmarks/results/{report['benchmark']}.json). Test figures"
    yield f"in %, mean ± half of the 95 % interval over the seeds; measured on {' and '.join(_machines(report['runs']))}."
    variants, runs = ({name: report[part][name] for name in report["order"]} for part in ("variants", "runs"))
    for stage, title in STAGES.items():
        for columns in (FIGURES, OTHERS):
            yield from _table(variants, stage, title, columns)
    yield from _curve(runs)
    yield from _reranking(runs)


def _machines(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What the runs were measured on: GPUs, or one thread of a processor."""
    rows = [row for of in runs.values() for row in of]
    return sorted({row["machine"]["gpu"] if row.get("device") == "cuda" else f"a thread of {row['machine']['processor']}" for row in rows})


def _table(variants: dict[str, Any], stage: str, title: str, columns: dict[str, str]) -> Iterator[str]:
    rows = {name: row for name, row in variants.items() if stage in row and columns.keys() & row[stage].keys()}
    shown = {figure: words for figure, words in columns.items() if any(figure in row[stage] for row in rows.values())}
    if not rows:
        return
    yield from ("", f"## {title}", "") if columns is FIGURES else ("",)
    yield f"| variant | seeds | commit | steps | s a step | {' | '.join(shown.values())} |"
    yield "|---" * (5 + len(shown)) + "|"
    for name, row in rows.items():
        cells = [percent(row[stage].get(figure)) for figure in shown]
        made = f"{row['seeds']} | {', '.join(row['commits'])} | {row['steps']}"
        yield f"| {name} | {made} | {row['seconds_a_step']:.2f} | {' | '.join(cells)} |"


def percent(value: dict[str, Any] | None) -> str:
    """A mean with its interval, `-` for a figure that was not measured."""
    if value is None:
        return "-"
    half = "" if value["half_width"] is None else f" ± {100 * value['half_width']:.1f}"
    return f"{100 * value['mean']:.1f}{half}"


def _curve(runs: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Modality randomization: one set of weights, more or fewer layers that see text alone."""
    for name, rows in runs.items():
        points = [(row["seed"], point) for row in rows for point in row.get("curve", [])]
        if points:
            yield from ("", f"## {name}: cost against quality of one set of weights", "")
            yield "| seed | layers that see text alone | ms a page | query -> product mAP | photo -> product R@1 | leaf |"
            yield "|---|---|---|---|---|---|"
        for seed, point in points:
            figures = [f"{100 * point[figure]:.1f}" for figure in ("query_to_product_map", "image_to_product_recall@1", "leaf_accuracy")]
            yield f"| {seed} | {point['text_layers']} | {point['ms_a_page']:.2f} | {' | '.join(figures)} |"


def _reranking(runs: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    found = [(name, row["seed"], point) for name, rows in runs.items() for row in rows for point in row.get("reranking", [])]
    if found:
        yield from ("", "## Re-ranking by matching: R@1 before and after; all pages re-ranked is matching alone", "")
        yield "| variant | seed | pages | re-ranked | image -> text | text -> image | ms a query |"
        yield "|---|---|---|---|---|---|---|"
    for name, seed, point in found:
        ways = [_before_after(point, f"{way}_recall@1") for way in ("image_to_text", "text_to_image")]
        yield f"| {name} | {seed} | {point['pages']} | {point['k']} | {' | '.join(ways)} | {point['ms_a_query']:.1f} |"


def _before_after(point: dict[str, float], figure: str) -> str:
    return f"{100 * point[figure]:.1f}, {100 * point[f'{figure}_reranked']:.1f}" if figure in point else "-"
