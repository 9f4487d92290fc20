"""Gradient caching: the gradients of a large batch in the memory of a small one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.chunks import in_chunks
from models.objectives.contrast import info_nce, symmetric_info_nce
from models.pretraining.batches import draw_pages
from models.pretraining.commercemm import updates
from models.recipes import Recipe
from tests.models.made import preprocess, shop, tiny_model

WHOLE = Recipe(steps=3, batch=16, fused=4, learning_rate=1e-3, objectives=("itc", "omni"))


def gradients(recipe: Recipe) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of both updates of three steps, and the gradients of all of them together."""
    model, data = tiny_model(seed=4), shop(count=64)
    model.config = replace(model.config, dropout=0.0)
    of_step = updates(model, data, data.whole_pages("train", "catalogue"), preprocess(), recipe)
    losses = [loss for step in range(3) for update in of_step(step) for loss in update().values()]
    torch.stack(losses).sum().backward()
    return [loss.item() for loss in losses], {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_chunks_change_no_loss_and_no_gradient(chunk: int) -> None:
    """Tolerance: 1e-5 of a loss, 1e-4 of the longest gradient."""
    losses, whole = gradients(WHOLE)
    in_parts, chunked = gradients(replace(WHOLE, chunk=chunk))
    assert in_parts == pytest.approx(losses, rel=1e-5)
    assert chunked.keys() == whole.keys()
    longest = max(float(value.abs().max()) for value in whole.values())
    assert all(torch.allclose(chunked[name], value, atol=1e-4 * longest) for name, value in whole.items())


def test_dropout_is_drawn_alike_in_forward_and_backward() -> None:
    """A chunk that saw other random numbers in backward would have another gradient."""
    rows = torch.randn(6, 4)
    weight = torch.ones(4, requires_grad=True)

    def embed(part: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return (F.dropout(part["rows"] * weight, 0.5),)

    (found,) = in_chunks(embed, {"rows": rows}, 2)
    kept = found.detach() != 0
    found.sum().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, (2 * rows * kept).sum(dim=0), atol=1e-6)
    assert kept.any() and not kept.all()


@contextmanager
def saved_bytes(but: tuple[Tensor, ...]) -> Iterator[list[int]]:
    """What autograd keeps for backward within the block, each storage once, without data that is there anyway; in all, when it is over."""
    seen: dict[int, int] = {}
    total: list[int] = []

    def keep(value: Tensor) -> Tensor:
        seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        yield total
    there = {value.untyped_storage().data_ptr() for value in but}
    total.append(sum(size for place, size in seen.items() if place not in there))


def kept(rows: int, chunk: int) -> int:
    """Bytes that a tower of eight layers and the contrast of `rows` of its embeddings keep for backward."""
    torch.manual_seed(0)
    tower = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.GELU()) for _ in range(8)), nn.Linear(256, 32))
    pages = {"rows": torch.randn(rows, 256)}
    fits = torch.eye(rows, dtype=torch.bool)
    with saved_bytes(but=(pages["rows"], fits)) as total:
        (found,) = in_chunks(lambda part: (F.normalize(tower(part["rows"]), dim=1),), pages, chunk)
        symmetric_info_nce(found, found.flip(0), fits, torch.tensor(10.0), chunk).backward()
    return total[0]


def test_a_batch_of_4096_keeps_what_one_of_256_does() -> None:
    """Without the inputs and the matrix of what fits what, which are data: 4,096 rows of 32 numbers are all that is more."""
    assert kept(4096, 256) < 1.2 * kept(256, 0) + 3 * 4096 * 32 * 4
    assert kept(4096, 0) > 16 * kept(256, 0)


def test_logits_in_chunks_are_the_same_loss() -> None:
    pages = draw_pages(shop(), torch.arange(8))
    rows = F.normalize(torch.randn(8, 5), dim=1)
    whole, parts = (info_nce(rows, rows.flip(0), pages.positives, torch.tensor(5.0), chunk).item() for chunk in (0, 3))
    assert parts == pytest.approx(whole, rel=1e-6)
