"""Which pictures look alike: clusters of difference hashes that differ in at most `NEAR` of their 256 bits.

Hashes that differ in 7 bits agree in one of 8 bands of 32, so only those that share a band are compared (Manku, Jain and
Das Sarma 2007). Legend: N pictures, U distinct hashes, L = 4 words of 64 bits a hash.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

NEAR, BANDS, WORDS = 7, 8, 4
MOST = 1_000  # hashes in one band that are compared with each other; more share it since it shows nothing

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


def clusters(looks: Hashes) -> Numbers:
    """`(N, L)` hashes -> `(N,)` the number of each picture's cluster."""
    known, places = np.unique(looks, axis=0, return_inverse=True)
    left, right = _near(known)
    links = coo_matrix((np.ones(len(left), dtype=bool), (left, right)), shape=(len(known), len(known)))
    _, numbers = connected_components(links, directed=False)
    return numbers.astype(np.int64)[places.reshape(-1)]


def _near(known: Hashes) -> tuple[Numbers, Numbers]:
    """Pairs of places in `known` `(U, L)` whose hashes are near."""
    pairs = [(np.zeros(0, dtype=np.int64),) * 2]
    for keys in np.ascontiguousarray(known).view(np.uint32).reshape(len(known), BANDS).T:
        order = np.argsort(keys, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            if 2 <= len(members) <= MOST:
                apart = np.bitwise_count(known[members][:, None] ^ known[members][None, :]).sum(axis=2)
                left, right = np.nonzero(np.triu(apart <= NEAR, 1))
                pairs.append((members[left], members[right]))
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])
