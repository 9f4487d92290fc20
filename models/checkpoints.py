"""Checkpoints of a training: sharded, written in the background, whole or not there.

Every process writes its own shard (torch.distributed.checkpoint, as safetensors) into a folder that ends in `.writing`; when all
have, the first writes `state.json`, the marker, and renames the folder. So a checkpoint named `step-...` without a suffix is
whole, and a training killed while it writes or removes one goes on from the newest that is. What was saved by R processes is
read by any number of them, each its own part of it. Tensors and JSON only.
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
from torch.distributed.checkpoint.api import CheckpointException

from goodsight.errors import BusyError
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
            for torn in folder.glob("step-*.*"):
                shutil.rmtree(torn)
        distributed.wait_for_all()

    def newest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = self._whole()
        return found[-1] if found else None

    def _whole(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if not path.suffix)

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
        copied = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}  # steps write in place
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
        whole = self._whole()
        measured = [(state["measured"], path) for path in whole if (state := self.read_state(path)).get("measured") is not None]
        best = max(measured)[1] if measured else None
        for old in whole[:-KEPT]:
            if old != best:
                torn = old.with_suffix(".removed")  # killed in between, it must not look whole
                old.rename(torn)
                shutil.rmtree(torn)

    def wait(self) -> None:
        """Returns when what was saved is on disk. Raises `BusyError` when it cannot be written."""
        pending, self.pending = self.pending, None
        try:
            if pending is not None:
                pending.result()
        except (CheckpointException, OSError) as error:
            causes = [each for each, _ in error.failures.values()] if isinstance(error, CheckpointException) else [error]
            hint = "Make room for it or the folder writable; the same command goes on from the newest whole checkpoint."
            raise BusyError(f"A checkpoint cannot be written: {causes[0]}", hint) from error

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self.thread.shutdown()


def _reader(path: Path) -> Any:
    return dcp.HuggingFaceStorageReader(str(path))
