"""A passport as a page: the graph drawn in layers, and below it every link with what is known of it. Nothing is loaded from anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodsight.page import render
from lineage.graph import MEANING, Node, Passport

PAGES = Path(__file__).with_name("pages")
WIDTH, HEIGHT, ACROSS, DOWN = 200, 58, 120, 26  # of a box, and between boxes; pixels
ROUNDS = 4  # of moving boxes towards what they are tied to


@dataclass(frozen=True)
class Box:
    """Where a node is drawn: its upper left corner."""

    node: Node
    x: int
    y: int


@dataclass(frozen=True)
class Label:
    """What an edge says, where it ends."""

    text: str
    x: int
    y: int


def page(made: Passport) -> str:
    """The HTML of a passport; what data or people wrote is escaped."""
    boxes = layout(made)
    places = {box.node.id: box for box in boxes}
    return render(
        PAGES,
        "passport",
        made=made,
        root=made.nodes[made.root],
        boxes=boxes,
        lines=[_line(places[edge.source], places[edge.target]) for edge in made.edges],
        labels=[label for box in boxes for label in _labels(made, box)],
        width=max(box.x for box in boxes) + WIDTH + 1,
        height=max(box.y for box in boxes) + HEIGHT + 1,
        box=(WIDTH, HEIGHT),
        meaning=MEANING,
        anchors={node: f"link-{place}" for place, node in enumerate(made.nodes)},
        told=told,
    )


def told(value: Any) -> str:
    """A fact as a person reads it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def layout(made: Passport) -> list[Box]:
    """Every node in the layer after the last one that leads to it, in an order that keeps edges short."""
    layers = _layers(made)
    for _ in range(ROUNDS):
        for before, layer in zip(layers, layers[1:], strict=False):
            layer.sort(key=_middles(made, before).__getitem__)
    tallest = max(map(len, layers))
    step = HEIGHT + DOWN
    return [
        Box(made.nodes[node], column * (WIDTH + ACROSS) + 1, row * step + (tallest - len(layer)) * step // 2 + 1)
        for column, layer in enumerate(layers)
        for row, node in enumerate(layer)
    ]


def _layers(made: Passport) -> list[list[str]]:
    """The longest way from the root to each node; an edge back, which no passport has, would count once."""
    depth = dict.fromkeys(made.nodes, 0)
    for _ in made.nodes:
        for edge in made.edges:
            depth[edge.target] = max(depth[edge.target], min(depth[edge.source] + 1, len(made.nodes)))
    used = sorted(set(depth.values()))
    return [[node for node in made.nodes if depth[node] == each] for each in used]


def _middles(made: Passport, before: Sequence[str]) -> dict[str, float]:
    """For each node the middle of those in the layer `before` that lead to it."""
    heights = {node: place for place, node in enumerate(before)}
    leading = {node: [heights[edge.source] for edge in made.edges if edge.target == node and edge.source in heights] for node in made.nodes}
    return {node: sum(places) / len(places) if places else 0.0 for node, places in leading.items()}


def _line(source: Box, target: Box) -> str:
    """An edge as an SVG path."""
    x0, y0, x1, y1 = source.x + WIDTH, source.y + HEIGHT // 2, target.x, target.y + HEIGHT // 2
    bend = max(ACROSS // 2, (x1 - x0) // 2)
    return f"M{x0} {y0}C{x0 + bend} {y0} {x1 - bend} {y1} {x1} {y1}"


def _labels(made: Passport, box: Box) -> list[Label]:
    """What the edges into a node say, above one another where they say different things."""
    texts = dict.fromkeys(edge.label for edge in made.edges if edge.target == box.node.id and edge.label)
    return [Label(text, box.x - 6, box.y + HEIGHT // 2 - 5 - 13 * place) for place, text in enumerate(texts)]
