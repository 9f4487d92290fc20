"""A device that is not the CPU, on a machine without one: tensors that say they lie on `meta`, hold CPU values, and refuse to be
mixed with tensors of the CPU, as a GPU's do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

ELSEWHERE = torch.device("meta")
MAY_TAKE_CPU = ("copy_", "_to_copy", "fill_", "lift_fresh")
INDEXING = ("index.Tensor", "index_put_", "_index_put_impl_")  # rows on the CPU may choose of a GPU's tensor; not the other way round


class Away(Tensor):
    """A tensor elsewhere; `held` are its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=ELSEWHERE, requires_grad=held.requires_grad
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held.detach()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Away({self.held})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`func` on the held values; raises `RuntimeError` when tensors of both places meet."""
    given: list[Tensor] = []
    tree_map(lambda value: given.append(value) if isinstance(value, Tensor) else None, (args, kwargs))
    name = func.__name__
    away = any(isinstance(value, Away) for value in given)
    here = [value for value in given if not isinstance(value, Away) and value.ndim]
    mixes = not (name.startswith(INDEXING) and isinstance(args[0], Away)) and not name.startswith(MAY_TAKE_CPU)
    if away and here and mixes:
        raise RuntimeError(f"{name}: tensors of the model's device and of the CPU {[tuple(value.shape) for value in here]} meet")
    if name.startswith("copy_") and not isinstance(args[0], Away):  # to the CPU
        away = False
    asked = kwargs.get("device")
    if asked is not None:
        away = torch.device(asked) == ELSEWHERE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    held, kwargs = tree_map(lambda value: value.held if isinstance(value, Away) else value, (args, kwargs))
    with torch.inference_mode(False), torch.no_grad():  # wrapped tensors cannot be inference tensors
        return wrapped(func, args, held, kwargs, away)


def wrapped(func: Any, args: Any, held: Any, kwargs: dict[str, Any], away: bool) -> Any:
    """What `func` gives, as a tensor elsewhere if `away`."""
    found = func(*held, **kwargs)
    if func._schema.name.endswith("_") and not func._schema.name.endswith("__"):  # in place
        return args[0] if func._schema.returns else None
    return tree_map(lambda value: Away(value) if isinstance(value, Tensor) else value, found) if away else found


class Elsewhere(TorchDispatchMode):
    """Within it `.to(ELSEWHERE)` and `device=ELSEWHERE` make tensors that hold values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})
