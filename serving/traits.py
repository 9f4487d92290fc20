"""Traits of a request: figures that tell how traffic changes and not what was asked (`lineage.traffic.TRAITS`).

They are computed by the thread that writes the prediction log, once the answer is on its way, and of no more than `PER_SECOND` answers
a second: drift needs a sample, and a busy server has better to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from lineage.traffic import SKETCH
from serving.words import Words, words_of

if TYPE_CHECKING:
    from PIL import Image
    from py3langid.langid import LanguageIdentifier

    from serving.request import Request

PER_SECOND = 20.0
WAITING = 16  # answers whose traits are to be computed: each may hold an image
SEED = 32
DIGITS = 4
SIDE, CENTRE = 64, 256  # pixels: of the picture whose light is measured, at least; of the middle part whose sharpness is, at most
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
SURE = 0.5  # a language less likely than this is und
LANGUAGES = (
    *("ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it"),
    *("ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sv", "th", "tr", "uk", "vi", "zh"),
)


def figures(request: Request, answer: Mapping[str, Any], made: np.ndarray | None, words: Words) -> dict[str, Any]:
    """The traits of a request and its answer; `made` is what the model made of it, as `Predictor.predict_batch` tells it."""
    found: dict[str, Any] = {}
    if request.text is not None:
        found |= of_text(request.text, words)
    if request.image is not None:
        found |= of_image(request.image)
    if request.table is not None:
        found["fields"] = len(request.table)
    category = next((result["category"] for result in answer["results"] if "category" in result), None)
    if category:
        found["category"] = category
    if made is not None:
        found["sketch"] = sketch(made)
    return found


def of_text(text: str, words: Words) -> dict[str, Any]:
    """Length in characters and words, language, and the share of its words that the index does not have."""
    found = list(words_of(text))
    unknown = {"oov": round(words.unknown(found), DIGITS)} if found else {}
    return {"text_chars": len(text), "text_words": len(found), "language": language_of(text), **unknown}


def language_of(text: str) -> str:
    """ISO 639-1, or und where it is not sure: few words are seldom enough."""
    found, chance = _languages().classify(text)
    return found if chance >= SURE else "und"


@lru_cache(maxsize=1)
def _languages() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages(LANGUAGES)
    return made


def of_image(image: Image.Image) -> dict[str, Any]:
    """Size, light and sharpness of an RGB image."""
    width, height = image.size
    small = np.asarray(image.reduce(max(1, min(width, height) // SIDE)), np.float32) / 255
    light = small @ LUMA
    highest = small.max(axis=2)
    saturation = (highest - small.min(axis=2)) / np.maximum(highest, 1 / 255)
    measured = {"brightness": light.mean(), "contrast": light.std(), "saturation": saturation.mean(), "sharpness": _sharpness(image)}
    return {"width": width, "height": height, **{name: round(float(value), DIGITS) for name, value in measured.items()}}


def _sharpness(image: Image.Image) -> float:
    """The mean step of brightness from a pixel to the next, in the middle of the image at its full size."""
    left, top = (max(0, (side - CENTRE) // 2) for side in image.size)
    middle = image.crop((left, top, left + min(CENTRE, image.width), top + min(CENTRE, image.height)))
    light = np.asarray(middle.convert("L"), np.float32) / 255
    steps = [np.abs(np.diff(light, axis=axis)).mean() for axis in (0, 1) if light.shape[axis] > 1]
    return float(np.mean(steps)) if steps else 0.0


def sketch(vector: np.ndarray) -> list[float]:
    """A vector (D,) in `SKETCH` numbers: distances stay about as they are, and the vector cannot be told from it."""
    return [round(float(value), DIGITS) for value in vector @ _projection(len(vector))]


@lru_cache(maxsize=8)
def _projection(dimension: int) -> np.ndarray:
    """(D, SKETCH), the same in every process."""
    drawn = np.random.Generator(np.random.PCG64(SEED)).standard_normal((dimension, SKETCH))
    return (drawn / np.sqrt(SKETCH)).astype(np.float32)


def chances(logits: np.ndarray) -> np.ndarray:
    """What is sketched of logits (C,): the roots of the classes' probabilities, a vector of length 1."""
    powers = np.exp(logits - logits.max())
    return np.sqrt(powers / powers.sum())


@dataclass(frozen=True, eq=False)
class Later:
    """Traits that are still to be computed."""

    request: Request
    answer: Mapping[str, Any]
    made: np.ndarray | None
    words: Words

    def __call__(self) -> dict[str, Any]:
        return figures(self.request, self.answer, self.made, self.words)


class Traits:
    """Chooses of which answers the traits are computed: as many a second as `PER_SECOND`, with `WAITING` waiting at most."""

    def __init__(self, words: Words) -> None:
        self._words, self._budget, self._at = words, PER_SECOND, time.monotonic()
        self._waiting: WeakSet[Later] = WeakSet()

    def of(self, request: Request, answer: Mapping[str, Any], made: np.ndarray | None) -> Later | None:
        """How to compute the traits of an answer; None where there is no time for it."""
        now = time.monotonic()
        self._budget, self._at = min(PER_SECOND, self._budget + (now - self._at) * PER_SECOND), now
        if self._budget < 1 or len(self._waiting) >= WAITING:
            return None
        self._budget -= 1
        later = Later(request, answer, made, self._words)
        self._waiting.add(later)
        return later

    @staticmethod
    def warm() -> None:
        """Loads what tells languages, which takes a second."""
        language_of("a red sofa")
