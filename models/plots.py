"""Plots of an evaluation, for reports: what is confused with what, which categories are weak, how far from the baselines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from models.evaluate import Evaluation
from models.training import History

SHOWN = 20  # the most frequent categories


def confusion(evaluation: Evaluation) -> tuple[list[str], list[list[int]]]:
    """Names and counts `(K, K)` (rows true, columns predicted) of the most frequent categories; the others are one last class."""
    counted = Counter(true for _, true, _ in evaluation.categories)
    names = [name for name, _ in counted.most_common(SHOWN)]
    place = {name: index for index, name in enumerate(names)}
    matrix = np.zeros((len(names) + 1, len(names) + 1), dtype=int)
    for _, true, predicted in evaluation.categories:
        matrix[place.get(true, len(names)), place.get(predicted, len(names))] += 1
    return [*names, "(others)"], matrix.tolist()


def save_plots(evaluation: Evaluation, curves: dict[str, History], folder: Path) -> None:
    """Writes `confusion.png`, `categories.png`, `retrieval.png` and `training.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    if evaluation.categories:
        _confusion(evaluation, folder / "confusion.png")
        _categories(evaluation, folder / "categories.png")
    _retrieval(evaluation, folder / "retrieval.png")
    if curves:
        _training(curves, folder / "training.png")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _leaf(name: str) -> str:
    return name.rpartition(" > ")[2][:28]


def _confusion(evaluation: Evaluation, path: Path) -> None:
    names, matrix = confusion(evaluation)
    counts = np.array(matrix, dtype=float)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = plt.subplots(figsize=(9, 8))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), [_leaf(name) for name in names], rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), [_leaf(name) for name in names], fontsize=7)
    for row, column in zip(*counts.nonzero(), strict=True):
        shade = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=6, color=shade)
    axes.set(xlabel="predicted", ylabel="true", title=f"Categories of {len(evaluation.categories):,} held-out products")
    _save(figure, path)


def _categories(evaluation: Evaluation, path: Path) -> None:
    counted = Counter(true for _, true, _ in evaluation.categories)
    hits = Counter(true for _, true, predicted in evaluation.categories if true == predicted)
    names = [name for name, _ in counted.most_common(SHOWN)][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(names) + 1.5))
    axes.barh([_leaf(name) for name in names], [hits[name] / counted[name] for name in names], color="#2b6cb0")
    for index, name in enumerate(names):
        axes.text(1.01, index, f"{hits[name]}/{counted[name]}", va="center", fontsize=7)
    axes.set(xlim=(0, 1.12), xlabel="share found", title="Accuracy by category")
    axes.tick_params(axis="y", labelsize=7)
    _save(figure, path)


def _retrieval(evaluation: Evaluation, path: Path) -> None:
    names = [name for name in evaluation.metrics if "recall" in name or name.endswith(("_map", "_ndcg@10"))][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(names) + 1.5))
    axes.barh(names, [evaluation.metrics[name] for name in names], color="#2b6cb0", label="model")
    lexical = [(index, evaluation.baselines.get(f"{name}_tfidf")) for index, name in enumerate(names)]
    known = [(index, value) for index, value in lexical if value is not None]
    if known:
        axes.plot([value for _, value in known], [index for index, _ in known], "D", color="#c05621", label="TF-IDF")
    axes.set(xlim=(0, 1), title="Retrieval over the full test gallery")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(loc="lower right", fontsize=7)
    _save(figure, path)


def _training(curves: dict[str, History], path: Path) -> None:
    figure, panels = plt.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.6), squeeze=False)
    for axes, (name, history) in zip(panels[0], curves.items(), strict=True):
        for objective in sorted({key for row in history for key in row} - {"step", "loss"}):
            points = [(row["step"], row[objective]) for row in history if objective in row]
            axes.plot(*zip(*points, strict=True), label=objective, linewidth=1)
        axes.set(title=name, xlabel="step", ylabel="loss")
        axes.legend(fontsize=6)
    _save(figure, path)
