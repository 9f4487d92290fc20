"""The training loop, one for every architecture and task: on one CPU, on one GPU, or on as many as torchrun starts.

Lightning Fabric has the device, the precision and the strategy: DDP, or FSDP2 where a recipe shards. Everything random is drawn
from the seed, the step and the rank, so a checkpoint needs no state of generators or samplers to go on exactly.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from goodsight.errors import PreemptedError, RefusedError
from goodsight.files import write_bytes
from goodsight.progress import note, track
from models import distributed
from models.checkpoints import Checkpoints
from models.recipes import Recipe
from models.sharding import recomputed, shard
from models.speed import Speed
from models.towers import native_bf16

Losses = dict[str, Tensor]
History = list[dict[str, float]]
PRETRAINED_SHARE = 0.1  # of the learning rate (papers.md 4.3)
AHEAD = 2  # steps whose batches are drawn ahead for a GPU
TOLD_EVERY = 10  # steps on a GPU: to ask for a loss is to wait for it
NAMED = 5  # products of a batch that an error names


@dataclass(frozen=True)
class Update:
    """One pass forward, backward and through the optimiser."""

    draw: Callable[[], Any]  # its batch, on the CPU; for a GPU in another thread, ahead of time
    losses: Callable[[Any], Losses]  # what the model makes of it; empty: no row has what the terms need
    products: Callable[[], list[str]]  # the ids of what it draws, on all processes

    def __call__(self) -> Losses:
        """Both at once."""
        return self.losses(self.draw())


Updates = Callable[[int], list[Update]]
Told = Callable[[int, dict[str, float]], None]


def precision(device: torch.device) -> tuple[str, str]:
    """Lightning precision on `device` and the reason for it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    return ("bf16-mixed", f"{name} multiplies bf16 natively") if native_bf16(device) else ("32-true", f"{name} has no native bf16")


def learning_rate_share(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to zero: the share of `recipe.learning_rate` at `step`."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(1, recipe.steps - warm)
    return 0.5 * (1 + float(torch.cos(torch.tensor(progress * torch.pi))))


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW, weight decay on matrices alone; what came pretrained (`towers.`) learns at a tenth of the rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            key = (recipe.weight_decay if value.ndim >= 2 else 0.0, PRETRAINED_SHARE if name.startswith("towers.") else 1.0)
            groups.setdefault(key, []).append(value)
    rows = [{"params": values, "weight_decay": decay, "share": share} for (decay, share), values in groups.items()]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")  # one pass over the weights instead of ten
    return torch.optim.AdamW(rows, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=fused)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, and the buffers; frozen weights are left out."""
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _fabric(device: torch.device, kind: str, recipe: Recipe) -> Fabric:
    distributed.start()
    strategy: Any = "auto"
    if distributed.world() > 1:
        data = distributed.world()
        strategy = (
            ModelParallelStrategy(shard, data_parallel_size=data, tensor_parallel_size=1, save_distributed_checkpoint=False)
            if recipe.sharded
            else DDPStrategy(find_unused_parameters=True, forward_sync_buffers=False)  # an update leaves out the heads of the other
        )
    devices, nodes = distributed.machines()
    where = "cuda" if device.type == "cuda" else "cpu"
    return Fabric(accelerator=where, strategy=strategy, devices=devices, num_nodes=nodes, precision=kind)  # type: ignore[arg-type]


class _Pass(nn.Module):
    """What Fabric wraps: a forward pass of it is the losses of one update, whichever parts of the model they call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Callable[[], Losses]) -> Losses:
        return losses()


@dataclass
class _Row:
    """What one step gave, still on the device: losses, the largest norm of its gradients, the products of its batches."""

    step: int
    losses: Losses
    norm: Tensor
    products: list[Callable[[], list[str]]]


class _Training:
    """A model, its optimiser and its moving average, as Fabric spreads them."""

    def __init__(self, model: nn.Module, recipe: Recipe, kind: str) -> None:
        self.model, self.recipe = model, recipe
        self.device = next(model.parameters()).device
        self.fabric = _fabric(self.device, kind, recipe)
        self.fabric.launch()
        if recipe.compiled:
            model.get_submodule("towers.image").compile()
        self.wrapped = self.fabric.setup_module(_Pass(model), move_to_device=False)
        self.optimizer = _optimizer(model, recipe)
        self.weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.average = {name: value.detach().clone() for name, value in self.weights.items()} if recipe.average else {}

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint has, by name."""
        found = {f"model.{name}": value for name, value in trainable_state(self.model).items()}
        found |= {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.weights.items():
            slots = self.optimizer.state.get(value, {})
            found |= {f"optimizer.{slot}.{name}": slots[slot] for slot in slots if slot != "step"}
        return found

    def updates_of(self) -> dict[str, int]:
        """How often the optimiser has changed each weight."""
        return {name: int(self.optimizer.state[value]["step"]) for name, value in self.weights.items() if value in self.optimizer.state}

    def restore(self, kept: Checkpoints) -> tuple[int, History]:
        """Goes back to the newest checkpoint: the step to go on from (0 without one), and the history so far."""
        path = kept.newest()
        if path is None:
            return 0, []
        state = kept.read_state(path)
        counts_on = self.device if self.optimizer.defaults["fused"] else None
        for name, count in state["updates"].items():
            value = self.weights[name]
            fresh = {slot: torch.zeros_like(value) for slot in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[value] = {"step": torch.tensor(float(count), device=counts_on), **fresh}
        kept.read_tensors(path, self.tensors())
        return int(state["step"]), list(state["history"])

    def step(self, step: int, batches: list[list[tuple[Update, Any]]]) -> _Row:
        """Runs the updates of one step, each over the batches that one step of the optimiser accumulates."""
        torch.manual_seed(distributed.own_generator(self.recipe.seed, step).initial_seed())
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * learning_rate_share(step, self.recipe) * group["share"]
        row = _Row(step, {}, torch.zeros((), device=self.device), [])
        for same in zip(*batches, strict=True):
            self._update(row, same)
        return row

    def _update(self, row: _Row, drawn: tuple[tuple[Update, Any], ...]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        learnt = False
        for place, (update, batch) in enumerate(drawn):
            row.products.append(update.products)
            waits = distributed.world() > 1 and place + 1 < len(drawn)
            with self.fabric.no_backward_sync(self.wrapped, enabled=True) if waits else nullcontext():
                losses = self.wrapped(lambda: update.losses(batch))  # noqa: B023  # called at once
                if losses:
                    self.fabric.backward(torch.stack([value.float() for value in losses.values()]).sum() / len(drawn))
                    learnt = True
            for name, value in losses.items():
                row.losses[name] = row.losses.get(name, 0) + value.detach().float() / len(drawn)
        if learnt:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_norm).detach()
            row.norm = torch.maximum(row.norm, norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
            self.optimizer.step()
            if self.average:
                with torch.no_grad():
                    torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - self.recipe.average)

    @torch.no_grad()
    def finish(self) -> None:
        """The moving average, if there is one, is the result."""
        for name, value in self.average.items():
            self.weights[name].copy_(value)


def train(
    model: nn.Module,
    updates: Updates,
    recipe: Recipe,
    checkpoints: Path,
    what: str,
    measure: Callable[[], float] | None = None,
    told: Told | None = None,
) -> History:
    """Trains `model` in place for `recipe.steps` steps; returns one row a step: `{step, loss, <objective>...}`.

    Goes on from the newest whole checkpoint; the result is the same as without the interruption, whatever the number of
    processes then and now draws alike. `measure` is asked at each checkpoint (higher is better) and the best is kept too;
    `told` gets the figures of a step. Every process of a group calls this with the same arguments.

    Raises `PreemptedError` after a SIGTERM, with a checkpoint written, and `RefusedError` when a loss or a gradient is no
    number: which, of which batch, and the last checkpoint is from before.
    """
    kind, reason = (recipe.precision, "as asked") if recipe.precision else precision(next(model.parameters()).device)
    training = _Training(model, recipe, kind)
    with Checkpoints(checkpoints) as kept, _stop_asked() as stop, recomputed(model, recipe.recompute):
        start, history = training.restore(kept)
        telling = _Telling(training, kept, history, what, told)
        telling.start(start, kind, reason)
        model.train()
        for step, batches in _shown(_drawn(updates, range(start, recipe.steps), recipe, training.device), what, recipe.steps, start):
            with telling.speed.counting():
                telling.rows.append(training.step(step, batches))
            stopped = distributed.any_rank(stop.is_set())
            kept_now = stopped or step + 1 == recipe.steps or (step + 1) % recipe.checkpoint_every == 0
            if kept_now or training.device.type == "cpu" or (step + 1) % TOLD_EVERY == 0:
                telling.tell()
            if kept_now:
                measured = _measured(model, measure) if measure and not recipe.sharded else None
                kept.save(step + 1, training.tensors(), {"history": list(history), "updates": training.updates_of(), "measured": measured})
            if stopped and step + 1 < recipe.steps:
                kept.wait()
                told_where = f"{what} was asked to stop after step {step + 1} of {recipe.steps}."
                raise PreemptedError(told_where, "The same command goes on from there.")
    training.finish()
    return history


def _measured(model: nn.Module, measure: Callable[[], float]) -> float:
    with torch.no_grad():
        value = measure()
    model.train()
    return value


def _drawn(
    updates: Updates, steps: range, recipe: Recipe, device: torch.device
) -> Iterator[tuple[int, list[list[tuple[Update, Any]]]]]:
    """Each step with its batches; for a GPU they are drawn by another thread while it computes."""

    def draw(step: int) -> list[list[tuple[Update, Any]]]:
        wanted = (updates(step * recipe.accumulate + place) for place in range(recipe.accumulate))
        return [[(update, update.draw()) for update in each] for each in wanted]

    if device.type == "cpu":
        yield from ((step, draw(step)) for step in steps)
        return
    with ThreadPoolExecutor(1) as thread:
        coming = {step: thread.submit(draw, step) for step in steps[:AHEAD]}
        for step in steps:
            if step + AHEAD in steps:
                coming[step + AHEAD] = thread.submit(draw, step + AHEAD)
            yield step, coming.pop(step).result()


def _shown(steps: Iterable[Any], what: str, total: int, done: int) -> Iterable[Any]:
    return track(steps, what, "steps", total=total, done=done) if distributed.rank() == 0 else steps


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Yields what SIGTERM sets within the block, where this thread may handle signals."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


class _Telling:
    """Turns what steps gave into rows of the history, figures for who listens, and an error where a number is none."""

    def __init__(self, training: _Training, kept: Checkpoints, history: History, what: str, told: Told | None) -> None:
        self.training, self.kept, self.history, self.what, self.told = training, kept, history, what, told
        self.rows: list[_Row] = []
        self.speed = Speed(training.device)

    def start(self, step: int, kind: str, reason: str) -> None:
        """Says what is about to run, and why so."""
        recipe, world = self.training.recipe, distributed.world()
        how = f" in {world} processes, {'sharded' if recipe.sharded else 'a copy each'}" if world > 1 else ""
        if distributed.rank() == 0:
            note(f"{self.what}: {recipe.steps} steps of {recipe.batch}{how}, precision {kind} ({reason})")
            if step:
                note(f"{self.what}: going on from the checkpoint after step {step}")

    def tell(self) -> None:
        """Fetches the figures of the steps since the last call."""
        rows, self.rows = self.rows, []
        values = torch.stack([value for row in rows for value in (*row.losses.values(), row.norm)]).tolist()
        found, norms, place = [], [], 0
        for row in rows:
            figures = dict(zip(row.losses, values[place : place + len(row.losses)], strict=True))
            norm = values[place + len(row.losses)]
            place += len(row.losses) + 1
            self._check(row, figures, norm)
            found.append({name: round(value, 5) for name, value in figures.items()})
            norms.append(norm)
        samples = len(rows[-1].products[0]()) * self.training.recipe.accumulate * len(rows)
        speed = self.speed.since(len(rows), samples)
        for row, figures, norm in zip(rows, distributed.mean_rows(found), norms, strict=True):
            self.history.append({"step": float(row.step), **figures, "loss": round(sum(figures.values()), 5)})
            if self.told and distributed.rank() == 0:
                rate = self.training.recipe.learning_rate * learning_rate_share(row.step, self.training.recipe)
                self.told(row.step, {**self.history[-1], "gradient_norm": norm, "learning_rate": rate, **speed})

    def _check(self, row: _Row, figures: dict[str, float], norm: float) -> None:
        bad = [f"{name} {value}" for name, value in figures.items() if not isfinite(value)] or [f"gradient norm {norm}"]
        if isfinite(norm) and all(isfinite(value) for value in figures.values()):
            return
        products = list(dict.fromkeys(name for each in row.products for name in each()))
        batch = ", ".join(products[:NAMED]) + (f" and {len(products) - NAMED} others" if len(products) > NAMED else "")
        self.kept.wait()
        last = self.kept.newest()
        raise RefusedError(
            f"{self.what}: step {row.step + 1} gave {', '.join(bad)} on the batch of the products {batch}.",
            f"The last good checkpoint is {last}. Look at these products, or train at a lower learning rate."
            if last else "Look at these products, or train at a lower learning rate.",
        )  # fmt: skip


def write_history(path: Path, history: History) -> None:
    """Keeps the loss curve: one JSON object a line, the same bytes whether the training was interrupted or not."""
    write_bytes(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in history).encode())


def read_history(path: Path) -> History:
    """The loss curve that `write_history` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]
