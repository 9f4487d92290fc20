"""What a model must beat: the most frequent category, and word matching (TF-IDF) for text queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer


def most_frequent(train: Sequence[str], count: int) -> list[str]:
    """`count` guesses of the category that training saw most."""
    return [Counter(train).most_common(1)[0][0]] * count


def tfidf_scores(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Cosine similarity `(Q, N)` of TF-IDF vectors fitted on the gallery's documents (title, description, attributes)."""
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    gallery = vectorizer.fit_transform(documents)
    return (vectorizer.transform(queries) @ gallery.T).toarray()
