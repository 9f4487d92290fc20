"""The processes that train together, as torchrun starts them; one process alone is a group of one.

Every process draws the rows of the whole batch and takes its share, so that who knows what never has to be sent: only
embeddings are gathered. Legend: R processes, N rows of one of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from models.draws import generator


def launched() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Which of the processes of this machine this one is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def machines() -> tuple[int, int]:
    """How many processes a machine has, and how many machines there are."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return here, launched() // here


def start() -> None:
    """Joins the processes that torchrun started: gloo for what lies on CPUs, NCCL for GPUs. Nothing to do for one alone."""
    if launched() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")


def world() -> int:
    """R."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of the R processes this one is; the first tells users and writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_generator(seed: int, step: int) -> torch.Generator:
    """What this rank draws for itself in a step; the first rank draws as a lone process does."""
    return generator(seed, step, rank()) if rank() else generator(seed, step)


def share(rows: Tensor) -> Tensor:
    """Of `(R * N,)` rows every R-th, beginning with the one of this rank."""
    return rows[rank() :: world()]


def together(rows: Tensor) -> Tensor:
    """`(R * N,)` rows in the order in which `gather` puts what the ranks made of their shares."""
    return torch.cat([rows[other :: world()] for other in range(world())])


def own(pairs: Tensor) -> Tensor:
    """`(R * N, R * N)` of pairs in that order -> `(N, N)`: those of this rank's rows among themselves."""
    N = len(pairs) // world()
    mine = slice(rank() * N, (rank() + 1) * N)
    return pairs[mine, mine]


def first_of_each(pairs: Tensor, count: int) -> Tensor:
    """`(R * N, R * N)` of pairs -> `(R * count, R * count)`: those of the first `count` rows of every rank."""
    for side in (0, 1):
        pairs = pairs.unflatten(side, (world(), -1)).narrow(side + 1, 0, count).flatten(side, side + 1)
    return pairs


def gather(rows: Tensor) -> Tensor:
    """`(N, ...)` of every rank -> `(R * N, ...)`, with a gradient: what every rank's loss asks of a row comes back to it."""
    if world() == 1:
        return rows
    from torch.distributed._functional_collectives import all_gather_single, wait_tensor

    if rows.dtype == torch.bool:  # which gloo does not send
        return gather(rows.to(torch.uint8)).bool()
    return wait_tensor(all_gather_single(rows.contiguous(), 0, list(range(world()))))


def any_rank(flag: bool) -> bool:
    """Whether `flag` is so on any rank; every rank has to ask."""
    if world() == 1:
        return flag
    votes = torch.tensor([int(flag)])
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())


def mean_rows(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The mean over the ranks of what each of them measured, row by row; a figure counts where it was measured."""
    if world() == 1:
        return rows
    everyone: list[list[dict[str, float]]] = [[] for _ in range(world())]
    dist.all_gather_object(everyone, rows)
    found = []
    for same in zip(*everyone, strict=True):
        names = dict.fromkeys(name for row in same for name in row)
        told = {name: [row[name] for row in same if name in row] for name in names}
        found.append({name: sum(values) / len(values) for name, values in told.items()})
    return found


@contextmanager
def first_alone() -> Iterator[None]:
    """The first rank of each machine runs the block, then the others."""
    if local_rank():
        wait_for_all()
    yield
    if not local_rank():
        wait_for_all()


def wait_for_all() -> None:
    """Returns when every rank is here."""
    if world() > 1:
        dist.barrier()
