"""Figures and slices in plain English, as a model card tells them."""

from __future__ import annotations

import re

ASKED = {
    "leaf_accuracy": "leaf category named right",
    "macro_f1": "mean F1 over the categories",
    "zero_shot_leaf_accuracy": "leaf category named from its name alone",
    "query_to_product": "a text query finds its product",
    "image_to_product": "a photo finds its product",
    "image_to_text": "an image finds its own text",
    "text_to_image": "a text finds its own image",
    "topic_to_product": "a category's name finds its products",
    "title_to_product": "a title in the other language finds its product",
    "category": "nearest products of the same category",
    "scale": "nearest products of the same category, by SCALE's figure",
    "cluster_nmi": "clusters of products agree with categories (mutual information)",
    "cluster_purity": "clusters of products agree with categories (purity)",
}
MEASURES = {
    r"_recall@1$": ", first",
    r"_recall@(\d+)$": r", among the first \1",
    r"_prec@(\d+)$": r", share of the first \1",
    r"_map$": r", mean average precision",
    r"_map@(\d+)$": r", mean average precision at \1",
    r"_ndcg@(\d+)$": r", NDCG at \1",
}
GROUPS = {
    "Categories": r"leaf_accuracy|level_|macro_f1",
    "Search by words": r"query_to_product",
    "Search by photo": r"image_to_product",
    "Images and texts": r"image_to_text|text_to_image",
    "Vectors": r"(?!category_calibration_error)",
}
SLICES = {"head": "categories with many training products", "tail": "categories with few", "no image": "no image", "no text": "no text"}
COSTS = {
    "categorize_ms": "one categorization, median milliseconds",
    "embed_ms": "one embedding, median milliseconds",
    "peak_memory_bytes": "peak memory, bytes",
    "bundle_bytes": "on disk, bytes",
}
BASELINES = {"tfidf": "words alone (TF-IDF)", "most_frequent": "most frequent category"}


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def metric_in_words(metric: str) -> str:
    """`query_to_product_recall@5` -> "a text query finds its product, among the first 5"; as it is when nobody named it."""
    if level := re.fullmatch(r"level_(\d+)_accuracy", metric):
        return f"level {level[1]} of the category named right"
    name, among = metric.replace("_random100", ""), " of 101 of its category" if "_random100" in metric else ""
    for ending, words in MEASURES.items():
        if found := re.search(ending, name):
            asked = name[: found.start()]
            return ASKED[asked] + found.expand(words) + among if asked in ASKED else metric
    return (ASKED | COSTS).get(name, metric)


def group_of(metric: str) -> str | None:
    """The heading of the card that a figure stands under; None for those that have a section of their own."""
    return next((group for group, names in GROUPS.items() if re.match(names, metric)), None)


def slice_in_words(name: str) -> str:
    kind, equals, value = name.partition("=")
    known = {"depth": f"categories {value} deep", "language": f"titles in language {value}", "source": f"products from {value}"}
    return known.get(kind, name) if equals else SLICES.get(name, name)


def money(value: float | None, currency: str = "") -> str:
    """An amount with the digits that tell something; empty when nobody measured it."""
    return "" if value is None else f"{value:,.2f} {currency}".strip() if value >= 1 else f"{value:.3g} {currency}".strip()
