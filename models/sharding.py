"""Models that do not fit: layers whose activations are made anew in backward, and weights spread over processes (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils.checkpoint import checkpoint

from models.architectures import Architecture, build


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of all stacks of the model that learn, outermost ones: what is recomputed, and sharded, one at a time."""
    found: list[nn.Module] = []
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and id(module) not in inside:
            layers = [layer for layer in module if any(value.requires_grad for value in layer.parameters())]
            found += layers
            inside |= {id(part) for layer in layers for part in layer.modules()}
    return found


@contextmanager
def recomputed(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Within the block, with `wanted`, each layer keeps its inputs alone and runs again in backward (Chen et al. 2016)."""
    layers = blocks(model) if wanted else []
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """`module` with each of its layers, and what is left, sharded over the data-parallel processes of `mesh`."""
    over = mesh["data_parallel"]
    for layer in blocks(module):
        fully_shard(layer, mesh=over)
    fully_shard(module, mesh=over)
    return module


def whole(model: Architecture) -> Architecture:
    """`model`, or where it is sharded one of its own with the same weights; all processes have to ask."""
    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return model
    fresh = build(model.config).to(model.device)
    fresh.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    return fresh
