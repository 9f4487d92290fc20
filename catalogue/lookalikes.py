"""Which pictures look alike: clusters of difference hashes that differ in at most `NEAR` of their 64 bits.

Two hashes that differ in 3 bits agree in one of 4 bands of 16, so only the hashes that share a band are compared (Manku, Jain and
Das Sarma 2007). Legend: N pictures, U distinct hashes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

NEAR, BANDS = 3, 4
MOST = 2_000  # hashes in one band that are compared with each other; more say little but that they share it

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def clusters(looks: Hashes) -> Numbers:
    """`(N,)` hashes -> `(N,)` the number of each picture's cluster."""
    known, places = np.unique(looks, return_inverse=True)
    left, right = _near(known)
    links = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(len(known), len(known)))
    _, numbers = connected_components(links, directed=False)
    return numbers.astype(np.int64)[places]


def _near(known: Hashes) -> tuple[Numbers, Numbers]:
    """Pairs of places in `known` `(U,)` whose hashes are near."""
    pairs = [(np.zeros(0, dtype=np.int64),) * 2]
    for band in range(BANDS):
        keys = (known >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.diff(keys[order])) + 1
        for members in np.split(order, edges):
            if 2 <= len(members) <= MOST:
                apart = np.bitwise_count(known[members][:, None] ^ known[members][None, :])
                left, right = np.nonzero(np.triu(apart <= NEAR, 1))
                pairs.append((members[left], members[right]))
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])
