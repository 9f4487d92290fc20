"""The training loop: killed anywhere it goes on to the very same weights, and it learns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import cos, pi
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import models.pretraining.commercemm
from goodsight.errors import InputError
from models.bundle import PRETRAINED, Bundle
from models.dataset import ProductData
from models.finetune import finetune_task
from models.pretraining import pretrain
from models.recipes import Recipe
from models.training import History, Update, learning_rate_share, read_history, train, trainable_state, write_history
from tests.models.made import SHORT, preprocess, shop, tiny_model

State = dict[str, Tensor]


def run_pretraining(folder: Path, recipe: Recipe = SHORT) -> tuple[State, History]:
    model = tiny_model(seed=4)
    history = pretrain(model, shop(), preprocess(), recipe, folder)
    return trainable_state(model), history


def assert_same(one: tuple[State, History], other: tuple[State, History]) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[State, History]:
    return run_pretraining(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stopped_in", [1, 2, 3, 5])
def test_a_stopped_pretraining_goes_on_to_the_same_weights(
    stopped_in: int, uninterrupted: tuple[State, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = models.pretraining.commercemm.cross_pair_update, iter(range(100))

    def stopping(*arguments: object) -> dict[str, Tensor]:
        if next(steps) == stopped_in:
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(models.pretraining.commercemm, "cross_pair_update", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_pretraining(tmp_path)
    assert_same(run_pretraining(tmp_path), uninterrupted)


def test_a_finished_training_is_not_run_again(
    uninterrupted: tuple[State, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pretraining(tmp_path)
    monkeypatch.setattr(models.pretraining.commercemm, "image_text_update", None)  # would fail if it were called
    assert_same(run_pretraining(tmp_path), uninterrupted)


def test_a_gradient_is_no_longer_than_the_recipe_says(tmp_path: Path) -> None:
    before = trainable_state(tiny_model(seed=4))
    after, _ = run_pretraining(tmp_path, replace(SHORT, gradient_norm=0.0, weight_decay=0.0))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_half_written_checkpoint_is_ignored(uninterrupted: tuple[State, History], tmp_path: Path) -> None:
    leftover = tmp_path / "step-0000004.writing"
    leftover.mkdir()
    (leftover / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"half")
    assert_same(run_pretraining(tmp_path), uninterrupted)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-0000004", "step-0000006"]  # the older ones are gone


def test_history_has_a_row_a_step(uninterrupted: tuple[State, History], tmp_path: Path) -> None:
    _, history = uninterrupted
    assert [row["step"] for row in history] == [0, 1, 2, 3, 4, 5]
    sources = [Counter(name.split()[0] for name in row if "->" in name) for row in history[:3]]
    assert sources[0] == {"query": 3, "view": 2, "post": 4}  # all terms of one source in turn, those of i and t of the others
    assert sources[1] == {"query": 2, "view": 3, "post": 4}
    assert sources[2] == {"query": 2, "view": 2, "post": 9}
    for row in history:
        assert row["loss"] == pytest.approx(
            sum(value for name, value in row.items() if name not in ("step", "loss")), abs=1e-4
        )
    write_history(tmp_path / "curve.jsonl", history)
    assert read_history(tmp_path / "curve.jsonl") == history


class Noisy(nn.Module):
    """A network with dropout: random numbers, running statistics, a frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 1))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.frozen(x))


def test_dropout_and_running_statistics_resume_too(tmp_path: Path) -> None:
    recipe = Recipe(steps=9, batch=16, fused=0, learning_rate=1e-2, checkpoint_every=3)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))

    def trained(folder: Path, stop: int | None) -> tuple[State, History]:
        model = Noisy()

        def updates(step: int) -> list[Update]:
            def second(x: Tensor) -> dict[str, Tensor]:
                if step == stop:
                    raise KeyboardInterrupt
                return {"second": model(x).square().mean()}

            def first(x: Tensor) -> dict[str, Tensor]:
                return {"first": (model(x) - x.sum(dim=1, keepdim=True)).square().mean()}

            return [Update(lambda: x, losses, lambda: ["p"] * 16) for losses in (first, second)]

        history = train(model, updates, recipe, folder, "test")
        return model.state_dict(), history

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", 7)
    torch.manual_seed(99)  # whatever the new process starts with
    assert_same(trained(tmp_path / "stopped", None), trained(tmp_path / "whole", None))


def test_pretraining_learns_what_can_be_learned(tmp_path: Path) -> None:
    _, history = run_pretraining(tmp_path, Recipe(steps=45, batch=8, fused=4, learning_rate=3e-3))
    for name in ("itc", "query t->t", "view i->i"):
        curve = [row[name] for row in history if name in row]
        assert sum(curve[-4:]) < 0.8 * sum(curve[:4]), name


@pytest.mark.parametrize("task, objective, much", [("categorize", "category", 0.8), ("retrieve", "itc", 0.9)])
def test_fine_tuning_learns_its_task(task: str, objective: str, much: float, tmp_path: Path) -> None:
    data, parent = (
        shop(),
        Bundle(tiny_model(seed=4), preprocess(), PRETRAINED, provenance={"snapshot": "s"}, digest="d"),
    )
    before = {name: value.clone() for name, value in parent.model.state_dict().items()}
    recipe = Recipe(steps=30, batch=8, fused=0, learning_rate=3e-3)
    tuned, history = finetune_task(task, parent, data, recipe, tmp_path)
    curve = [row[objective] for row in history]
    assert sum(curve[-5:]) < much * sum(curve[:5])
    assert (tuned.task, tuned.provenance["snapshot"], tuned.provenance["parent"]) == (task, "s", "d")
    assert not tuned.model.training
    assert all(
        torch.equal(value, before[name]) for name, value in parent.model.state_dict().items()
    )  # the parent stays


def test_learning_rate_by_hand() -> None:
    # 10 steps, 2 of them warm-up, then half a cosine over 8 steps
    recipe = Recipe(steps=10, batch=1, fused=0, learning_rate=1.0, warmup=0.2)
    shares = [learning_rate_share(step, recipe) for step in range(10)]
    cosine = [(1 + cos(pi * part / 8)) / 2 for part in range(8)]
    assert shares == pytest.approx([0.5, 1.0, *cosine], abs=1e-6)
    assert shares[6] == pytest.approx(0.5, abs=1e-6)
    assert learning_rate_share(0, Recipe(steps=1, batch=1, fused=0, learning_rate=1.0)) == 1.0


@pytest.mark.parametrize("data", [shop(no_image=range(24)), shop(no_text=range(24))], ids=["no images", "no texts"])
def test_a_shop_without_one_whole_page_is_told(data: ProductData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both an image and a text"):
        pretrain(tiny_model(), data, preprocess(), SHORT, tmp_path)
