"""Where a model is trained and measured: on a GPU when there is one, unless GOODSIGHT_DEVICE says otherwise."""

from __future__ import annotations

import torch

from goodsight.errors import InputError
from goodsight.settings import settings


def device() -> torch.device:
    """The device of this process. Raises `InputError` when a GPU is asked for and there is none."""
    wanted = settings().device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("GOODSIGHT_DEVICE is 'cuda', and PyTorch finds no GPU.", "Run on a machine with one, or unset GOODSIGHT_DEVICE.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
