"""Where a model is trained and measured: on a GPU when there is one, unless GOODSIGHT_DEVICE says otherwise."""

from __future__ import annotations

import torch

from goodsight.errors import InputError
from goodsight.settings import settings
from models.distributed import launched, local_rank


def device() -> torch.device:
    """The device of this process. Raises `InputError` when a GPU is asked for and there is none."""
    wanted = settings().device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("GOODSIGHT_DEVICE is 'cuda', and PyTorch finds no GPU.", "Run on a machine with one, or unset GOODSIGHT_DEVICE.")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank()) if launched() > 1 else torch.device("cuda")
