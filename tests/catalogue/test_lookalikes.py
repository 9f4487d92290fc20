"""Look-alikes: whatever a comparison of all pairs finds, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from catalogue.lookalikes import NEAR, WORDS, clusters
from catalogue.media import decode_image
from catalogue.media_checks import seen
from samples import furniture

HASH = st.integers(0, 2**256 - 1)


def words(looks: list[int]) -> np.ndarray:
    """Hashes `(N, 4)`."""
    return np.frombuffer(b"".join(look.to_bytes(32, "big") for look in looks), dtype=np.uint64).reshape(-1, WORDS)


def slow_clusters(looks: list[int]) -> list[int]:
    """The number of the first member of each one's cluster, by comparing all pairs until nothing joins."""
    names = list(range(len(looks)))
    changed = True
    while changed:
        changed = False
        for left in range(len(looks)):
            for right in range(len(looks)):
                if (looks[left] ^ looks[right]).bit_count() <= NEAR and names[right] > names[left]:
                    names[right], changed = names[left], True
    return names


@settings(deadline=None, max_examples=60)
@given(
    start=st.lists(HASH, min_size=1, max_size=6),
    flips=st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 255), max_size=10)), max_size=12),
)
def test_clusters_are_those_of_all_pairs(start: list[int], flips: list[tuple[int, set[int]]]) -> None:
    looks = start + [start[place % len(start)] ^ sum(1 << bit for bit in bits) for place, bits in flips]
    found = clusters(words(looks)).tolist()
    slow = slow_clusters(looks)
    assert [found.index(number) for number in found] == [slow.index(number) for number in slow]


def test_no_pictures_no_clusters() -> None:
    assert clusters(words([])).tolist() == []


def look(image: Image.Image) -> int:
    return int.from_bytes(seen(b"", image).look, "big")


def test_a_smaller_or_brighter_copy_looks_alike_and_another_product_does_not() -> None:
    files = sorted((furniture() / "images").glob("*.jpg"))[:40]
    images = [decode_image(file.read_bytes()) for file in files]
    looks = [look(image) for image in images]
    smaller = [image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS) for image in images]
    darker = [ImageEnhance.Brightness(image).enhance(0.9) for image in images]
    for copies in (smaller, darker):
        apart = [(look(copy) ^ own).bit_count() for copy, own in zip(copies, looks, strict=True)]
        assert np.mean(np.array(apart) <= NEAR) >= 0.6
    apart = [(left ^ right).bit_count() for place, left in enumerate(looks) for right in looks[:place]]
    assert np.mean(np.array(apart) <= NEAR) < 0.01
