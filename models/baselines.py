"""What a model is compared with: the most frequent category, and words alone (TF-IDF) for categories and text queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC


def most_frequent(train: Sequence[str], count: int) -> list[str]:
    """`count` guesses of the category that training saw most."""
    return [Counter(train).most_common(1)[0][0]] * count


def categories_by_words(documents: Sequence[str], categories: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Categories of the `asked` documents by a linear SVM on TF-IDF of character 2- to 4-grams; of the training documents and
    their `categories` it takes all. The most frequent category where there is nothing to learn from.
    """
    if len(set(categories)) < 2 or not any(document.strip() for document in documents):
        return most_frequent(categories, len(asked))
    classifier = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True), LinearSVC())
    return list(classifier.fit(documents, categories).predict(asked))


def tfidf_scores(queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
    """Cosine similarity `(Q, N)` of TF-IDF vectors fitted on the gallery's documents (title, description, attributes)."""
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    gallery = vectorizer.fit_transform(documents)
    return (vectorizer.transform(queries) @ gallery.T).toarray()
