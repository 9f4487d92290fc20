"""Checkpoints of a training: sharded, written in the background, whole or not there.

Every process writes its own shard (torch.distributed.checkpoint, as safetensors) into a folder that ends in `.writing`; when all
have, the first writes `state.json`, the marker, and renames the folder. So a checkpoint that is named `step-...` is whole, and a
training killed while it writes goes on from the one before. What was saved by R processes is read by any number of them, each
its own part of it. Tensors and JSON only.
"""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from goodsight.files import read_json, take_place, write_json
from models import distributed

STATE = "state.json"
KEPT = 2  # the newest ones, beside the best


class Checkpoints:
    """The checkpoints of one training in `folder`. Every process of the training makes one and calls the same methods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = dist.new_group(backend="gloo") if distributed.world() > 1 else None  # the training's own calls go on meanwhile
        self.thread = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None
        if distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            for torn in folder.glob("step-*.writing"):
                shutil.rmtree(torn)
        distributed.wait_for_all()

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = sorted(path for path in self.folder.glob("step-*") if not path.name.endswith(".writing"))
        return found[-1] if found else None

    def read_state(self, path: Path) -> dict[str, Any]:
        """What `save` was given as `state`."""
        return read_json(path / STATE)

    def names(self, path: Path) -> set[str]:
        """The names of the tensors in a checkpoint."""
        return set(_reader(path).read_metadata().state_dict_metadata)

    def read_tensors(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Fills `tensors` in place, whole ones or this process's parts."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(tensors, storage_reader=_reader(path), process_group=self.group, no_dist=self.group is None)

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Takes a copy of `tensors` now and writes it in the background, once the checkpoint before is written.

        `state` is JSON; its `measured` (a figure, higher is better, or None) says which checkpoint is the best.
        """
        self.wait()
        aside = self.folder / f"step-{step:07d}.writing"
        copied = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}  # a training step writes in place
        writer = dcp.HuggingFaceStorageWriter(str(aside), save_distributed=True)
        self.pending = self.thread.submit(self._write, writer, copied, aside, {**state, "step": step})

    def _write(self, writer: Any, tensors: dict[str, Tensor], aside: Path, state: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save(tensors, storage_writer=writer, process_group=self.group, no_dist=self.group is None)
        if distributed.rank():
            return
        write_json(aside / STATE, state)
        take_place(aside, aside.with_suffix(""))
        self._prune()

    def _prune(self) -> None:
        whole = sorted(path for path in self.folder.glob("step-*") if not path.name.endswith(".writing"))
        measured = [(state["measured"], path) for path in whole if (state := self.read_state(path)).get("measured") is not None]
        best = max(measured)[1] if measured else None
        for old in whole[:-KEPT]:
            if old != best:
                shutil.rmtree(old)

    def wait(self) -> None:
        """Returns when what was saved is on disk. Raises what writing raised."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self.thread.shutdown()


def _reader(path: Path) -> Any:
    return dcp.HuggingFaceStorageReader(str(path))
