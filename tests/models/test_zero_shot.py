"""Category names as queries."""

from __future__ import annotations

import torch

from models.zero_shot import category_words, topic_embeddings
from tests.models.made import close, preprocess, tiny_model


def test_names_go_from_the_leaf_up_each_once() -> None:
    assert category_words("Apparel > Topwear > Tshirts") == "tshirts, topwear, apparel"
    assert category_words("Sauces > Sauces") == "sauces"


@torch.inference_mode()
def test_a_topic_is_what_a_search_for_its_words_is() -> None:
    model, names = tiny_model(), ["Lamps", "Furniture > Tables"]
    words, vectors = topic_embeddings(model, preprocess(), names)
    asked = preprocess().batch([None, None], ["lamps", "tables, furniture"])
    assert close(vectors, model.embed(asked))
    assert close(words, model.unimodal(model.encode(asked)).text)
