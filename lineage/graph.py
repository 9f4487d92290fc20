"""A passport as a graph: things, how each was checked just now, and what ties one to the next. Plain values, so JSON as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["verified", "recorded", "missing", "altered"]
MEANING: dict[State, str] = {
    "verified": "checked now: bytes, signature or hash are what they were",
    "recorded": "a record tells of it; nothing here to check it against",
    "missing": "nothing here tells of it, or it is kept elsewhere",
    "altered": "it is not what was made: do not rely on it",
}


@dataclass(frozen=True)
class Node:
    """One thing. `facts` are what is known of it, values of JSON; `how` says what `state` rests on."""

    kind: str
    name: str  # unique within its kind: a digest, a version, an id
    state: State
    how: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def label(self) -> str:
        """The name as people read it: digests by their first 12 letters."""
        return self.name[:12] if len(self.name) == 64 else self.name


@dataclass(frozen=True)
class Edge:
    """`source` was made from, answered by or allowed by `target`, as `label` says."""

    source: str
    target: str
    label: str


@dataclass
class Passport:
    """What stands behind `root`, the id of a node, as it was found at `made` (ISO 8601, UTC); `deep`: every byte was read."""

    root: str
    made: str
    deep: bool
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add(self, node: Node, source: str = "", label: str = "") -> str:
        """Adds a node, unless it is there, and the edge to it from `source`; returns its id."""
        self.nodes.setdefault(node.id, node)
        if source and (edge := Edge(source, node.id, label)) not in self.edges:
            self.edges.append(edge)
        return node.id

    def targets(self, node: str) -> list[Edge]:
        """The edges from a node, in the order in which they were found."""
        return [edge for edge in self.edges if edge.source == node]

    def count(self, state: State) -> int:
        return sum(node.state == state for node in self.nodes.values())

    def to_json(self) -> dict[str, Any]:
        nodes = [{"id": node.id, **asdict(node)} for node in self.nodes.values()]
        return {"root": self.root, "made": self.made, "deep": self.deep, "nodes": nodes, "edges": [asdict(edge) for edge in self.edges]}
