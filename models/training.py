"""The training loop: optimiser, schedule, checkpoints that resume exactly, progress. One loop for every architecture and task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from goodsight.files import read_json, whole_folder, write_bytes, write_json
from goodsight.progress import note, track
from models.draws import generator
from models.recipes import Recipe
from models.towers import native_bf16

Updates = Callable[[int], Iterable[dict[str, Tensor]]]
History = list[dict[str, float]]
PRETRAINED_SHARE = 0.1  # of the learning rate (papers.md 4.3)


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
    return torch.optim.AdamW(rows, lr=recipe.learning_rate, betas=(0.9, 0.98), foreach=True)


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, and the buffers; frozen weights are left out."""
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def save_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, history: History) -> None:
    """Writes a whole checkpoint after `step` steps and removes the older ones. Tensors only: safetensors and JSON."""
    tensors = {f"model.{name}": value.contiguous() for name, value in trainable_state(model).items()}
    state = optimizer.state_dict()
    for index, slots in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value).contiguous() for name, value in slots.items()}
    with whole_folder(folder / f"step-{step:07d}") as aside:
        save_file(tensors, aside / "tensors.safetensors")
        write_json(aside / "state.json", {"step": step, "history": history, "groups": state["param_groups"]})
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, History]:
    """Restores the newest checkpoint. Returns the step to go on from (0 without one) and the history so far."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0, []
    tensors = load_file(found[-1] / "tensors.safetensors")
    state = read_json(found[-1] / "state.json")
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    model.load_state_dict(weights, strict=False)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".", 2)
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": state["groups"]})
    return int(state["step"]), list(state["history"])


def train(model: nn.Module, updates: Updates, recipe: Recipe, checkpoints: Path, what: str) -> History:
    """Runs `recipe.steps` steps; each step runs every update of `updates(step)` forward, backward and through the optimiser.

    Goes on from the newest whole checkpoint; the result is the same as without the interruption. Returns one row a
    step: `{step, loss, <objective>...}`.
    """
    device = next(model.parameters()).device
    kind, reason = precision(device)
    fabric = Fabric(accelerator="cuda" if device.type == "cuda" else "cpu", devices=1, precision=kind)  # type: ignore[arg-type]
    note(f"{what}: {recipe.steps} steps of {recipe.batch}, precision {kind} ({reason})")
    optimizer = _optimizer(model, recipe)
    start, history = load_checkpoint(checkpoints, model, optimizer)
    if start:
        note(f"{what}: going on from the checkpoint after step {start}")
    model.train()
    for step in track(range(start, recipe.steps), what, "steps", total=recipe.steps, done=start):
        torch.manual_seed(generator(recipe.seed, step).initial_seed())
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * learning_rate_share(step, recipe) * group["share"]
        history.append(_step(fabric, model, optimizer, updates(step), recipe.gradient_norm, step))
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            save_checkpoint(checkpoints, model, optimizer, step + 1, history)
    return history


def _step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    updates: Iterable[dict[str, Tensor]],
    gradient_norm: float,
    step: int,
) -> dict[str, float]:
    row: dict[str, float] = {"step": float(step)}
    pending = iter(updates)
    while True:
        optimizer.zero_grad(set_to_none=True)
        with fabric.autocast():
            losses = next(pending, None)
        if losses is None:
            break
        if not losses:  # no row of this batch has what its terms need
            continue
        total = torch.stack([value.float() for value in losses.values()]).sum()
        fabric.backward(total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_norm)
        optimizer.step()
        row |= {name: round(float(value.detach()), 5) for name, value in losses.items()}
    row["loss"] = round(sum(value for name, value in row.items() if name != "step"), 5)
    return row


def write_history(path: Path, history: History) -> None:
    """Keeps the loss curve: one JSON object a line, the same bytes whether the training was interrupted or not."""
    write_bytes(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in history).encode())


def read_history(path: Path) -> History:
    """The loss curve that `write_history` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]
