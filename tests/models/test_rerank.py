"""Re-ranking: the first k in the order of the matching, everything else as it was."""

from __future__ import annotations

import torch
from torch import Tensor

from models.dataset import Batch
from models.rerank import reranked
from tests.models.made import shop, tiny_model


def test_the_first_k_are_reordered_by_the_matching_and_stay_first() -> None:
    data, rows = shop(), torch.arange(6)
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) * 50
    seen: list[int] = []

    def match(batch: Batch) -> Tensor:
        seen.append(len(batch["text_mask"]))
        return torch.linspace(1, 0, len(batch["text_mask"]))  # the best by contrast stay the best, in their order

    same = reranked(match, data, rows, scores, 3)
    assert torch.equal(same.argsort(dim=1, descending=True), scores.argsort(dim=1, descending=True))
    turned = reranked(lambda batch: 1 - match(batch), data, rows, scores, 3)
    order, before = turned.argsort(dim=1, descending=True), scores.argsort(dim=1, descending=True)
    assert torch.equal(order[:, :3], before[:, :3].flip(1))
    assert torch.equal(order[:, 3:], before[:, 3:])
    assert seen == [18, 18]


@torch.inference_mode()
def test_pairs_are_an_image_with_anothers_text() -> None:
    model, data, rows = tiny_model(), shop(), torch.tensor([0, 2, 4])
    scores = reranked(model.match, data, rows, torch.rand(3, 3), 3)
    best = scores.argmax(dim=1)
    for image in range(3):
        picture = data.images.take(rows[image : image + 1])
        probability = [float(model.match({**data.texts.take(rows[text : text + 1]), **picture})) for text in range(3)]
        assert int(best[image]) == max(range(3), key=probability.__getitem__)
