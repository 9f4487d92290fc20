"""What the processes of distributed tests run: functions that torchrun's launcher starts once a rank, over gloo on CPUs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from goodsight.errors import PreemptedError
from models import distributed
from models.architectures import build
from models.pretraining import pretrain
from models.recipes import Recipe
from models.sharding import whole
from models.training import History
from tests.models.made import config, preprocess, shop


def ranks(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns on each of `count` ranks; in this process for one."""
    if count == 1:
        return [work(*arguments)]
    launch = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=count, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0)
    found = elastic_launch(launch, _joined)(work, *arguments)
    return [found[rank] for rank in range(count)]


def _joined(work: Callable[..., Any], *arguments: Any) -> Any:
    torch.set_num_threads(1)
    distributed.start()
    return work(*arguments)


def in_turn(works: list[tuple[Any, ...]]) -> list[Any]:
    """What each `(work, *arguments)` returns: many of them for one start of the processes."""
    return [work(*arguments) for work, *arguments in works]


def pretrained(architecture: str, recipe: Recipe, folder: Path, stop_after: int = 0) -> tuple[dict[str, Tensor], History]:
    """The whole weights of a tiny model pretrained by `recipe`, and its loss curve. Without dropout, which each rank draws itself.

    `stop_after` so many steps the first rank gets a SIGTERM; then there is no history.
    """
    torch.manual_seed(4)
    model = build(replace(config(architecture), dropout=0.0))

    def told(step: int, figures: dict[str, float]) -> None:
        if step + 1 == stop_after:
            signal.raise_signal(signal.SIGTERM)

    try:
        history = pretrain(model, shop(architecture=architecture), preprocess(), recipe, folder, told)
    except PreemptedError:
        history = []
    return {name: value.clone() for name, value in whole(model).state_dict().items()}, history
