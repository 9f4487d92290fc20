"""Leak groups and splits: products that nearly look alike, or are called alike, must not be split apart.

A model that has seen one of two near-identical icons in training knows the other one's answer, so both get one split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 24
_ALIKE = 0.1  # share of the ink; above it the same shape with other details begins
_SHARES = ((0.7, "train"), (0.8, "val"), (1.0, "test"))


def fingerprint(picture: Image.Image) -> NDArray[np.float32]:
    """A tiny copy of a picture as ink on white paper, flattened."""
    small = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.subtract(1, np.asarray(small, np.float32).ravel() / 255, dtype=np.float32)


def leak_groups(ids: Sequence[str], titles: Sequence[str], pictures: Iterable[Image.Image]) -> list[str]:
    """Each product's group, named by the first id in it: pictures or titles that are alike stay together."""
    parent = list(range(len(ids)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    for first, second in [*_same(titles), *_alike([fingerprint(picture) for picture in pictures])]:
        parent[root(second)] = root(first)
    members: dict[int, list[str]] = {}
    for index, name in enumerate(ids):
        members.setdefault(root(index), []).append(name)
    return [min(members[root(index)]) for index in range(len(ids))]


def _same(titles: Sequence[str]) -> list[tuple[int, int]]:
    """Each product with the first one of its title."""
    first: dict[str, int] = {}
    return [(first.setdefault(title.casefold(), index), index) for index, title in enumerate(titles)]


def _alike(prints: Sequence[NDArray[np.float32]]) -> list[tuple[int, int]]:
    """Pairs whose difference is small beside the ink of the fuller picture, so that thin things are not all alike."""
    ink = [max(float(values.sum()), 1e-6) for values in prints]
    return [
        (first, second)
        for first, second in combinations(range(len(prints)), 2)
        if float(np.abs(prints[first] - prints[second]).sum()) <= _ALIKE * max(ink[first], ink[second])
    ]


def splits(groups: Sequence[str]) -> list[str]:
    """Each product's split: whole groups, in the order of their names' hashes, fill train, then val, then test."""
    split: dict[str, str] = {}
    filled = 0
    for group, count in sorted(Counter(groups).items(), key=lambda pair: sha256(pair[0].encode()).digest()):
        split[group] = next(name for share, name in _SHARES if filled < share * len(groups))
        filled += count
    return [split[group] for group in groups]
