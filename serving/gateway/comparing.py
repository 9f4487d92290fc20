"""Two answers to the same request: whether each is one, and how far they agree."""

from __future__ import annotations

import json
from typing import Any

FIRST = 10  # products that are compared


def read(body: bytes, version: str | None = None) -> dict[str, Any] | None:
    """The answer in a body; None when it is none, or not one of `version`."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        return None
    return answer if version is None or answer.get("model_version") == version else None


def agreement(task: str, one: dict[str, Any], other: dict[str, Any]) -> float | None:
    """How far two answers agree, between 0 and 1: the same first category, or the share of the first ten products that both have.

    None for tasks whose answers two models cannot share, as vectors.
    """
    old, new = one["results"], other["results"]
    if task == "categorize":
        return float(_names(old[:1], "category") == _names(new[:1], "category"))
    if task not in ("search", "recommend", "similar"):
        return None
    longest = min(FIRST, max(len(old), len(new)))
    return len(_names(old[:FIRST], "id") & _names(new[:FIRST], "id")) / longest if longest else 1.0


def _names(results: list[Any], name: str) -> set[Any]:
    return {result.get(name) if isinstance(result, dict) else None for result in results}
