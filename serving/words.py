"""Words of products: BM25 scores of all products for a query's words, from arrays that are mapped into memory.

A word is a run of letters or digits, without case; a Chinese, Japanese or Korean run is its pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from goodsight.digests import key64

FOLDER, VOCABULARY = "words", "vocabulary.npy"  # the sorted keys of all words: the place of a word is its number
_RUN = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+)|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words_of(text: str) -> Iterator[str]:
    """The words of `text`, as often as they are in it."""
    for run in _RUN.finditer(text.casefold()):
        word = run.group()
        if run.group(1) and len(word) > 2:
            yield from (word[start : start + 2] for start in range(len(word) - 1))
        else:
            yield word


def write_words(texts: Iterable[str], folder: Path) -> None:
    """Writes what `Words` reads of `texts`, one a product: `<folder>/words/`."""
    import bm25s

    keys: dict[str, int] = {}

    def key(word: str) -> int:
        if word not in keys:
            keys[word] = key64(word)
        return keys[word]

    documents = [[key(word) for word in words_of(text)] for text in texts]
    vocabulary = np.unique(np.array(list(keys.values()) or [0], dtype=np.uint64))
    number = {key: place for place, key in enumerate(vocabulary.tolist())}
    engine = bm25s.BM25()
    numbered = [[number[key] for key in document] for document in documents]
    with np.errstate(invalid="ignore"):  # of texts without a single word the mean length is 0
        engine.index((numbered, {str(place): place for place in range(len(vocabulary))}), show_progress=False)
    engine.vocab_dict = {}
    engine.save(folder / FOLDER, show_progress=False)
    np.save(folder / FOLDER / VOCABULARY, vocabulary)


@dataclass(frozen=True)
class Words:
    """BM25 over the products of one index."""

    engine: Any
    vocabulary: np.ndarray

    @staticmethod
    def open(folder: Path) -> Words:
        import bm25s

        engine = bm25s.BM25.load(folder / FOLDER, load_vocab=False, mmap=True, show_progress=False)
        return Words(engine, np.load(folder / FOLDER / VOCABULARY, mmap_mode="r"))

    def scores(self, text: str) -> np.ndarray | None:
        """(N,) float32, zero where a product has none of the words; None when no product has any."""
        known = self._places(words_of(text))
        return self.engine.get_scores_from_ids(known) if known else None

    def unknown(self, words: Sequence[str]) -> float:
        """The share of `words`, of which there is at least one, that no product has."""
        return 1 - len(self._places(words)) / len(words)

    def _places(self, words: Iterable[str]) -> list[int]:
        """The numbers of those words that a product has."""
        keys = np.array([key64(word) for word in words], dtype=np.uint64)
        places = np.searchsorted(self.vocabulary, keys)
        return [int(p) for p, key in zip(places, keys, strict=True) if p < len(self.vocabulary) and self.vocabulary[p] == key]
