"""Kills a training by SIGKILL again and again, at random moments, and lets it go on each time; run as a process of its own.

    python -m tests.models.killed FOLDER SEED

Imports once and forks, so that a child is training within milliseconds. Prints one JSON object: how often it was killed, after
which checkpoints it went on, what was half written or removed when it was killed, and the digests of the final weights and of
the history, beside those of a training that nobody killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from goodsight.digests import sha256_bytes
from models.pretraining import pretrain
from models.recipes import Recipe
from models.training import trainable_state
from tests.models.made import preprocess, shop, tiny_model

KILLS = 20
RECIPE = Recipe(steps=60, batch=8, fused=4, learning_rate=1e-3, checkpoint_every=1, average=0.9)


def trained(folder: Path) -> None:
    """Trains, or goes on, and leaves the digests of what came of it."""
    model = tiny_model(seed=4)
    history = pretrain(model, shop(), preprocess(), RECIPE, folder)
    weights = b"".join(value.numpy().tobytes() for _, value in sorted(trainable_state(model).items()))
    (folder / "done.json").write_text(json.dumps([sha256_bytes(weights), sha256_bytes(json.dumps(history, sort_keys=True).encode())]))


def child(folder: Path) -> int:
    """A process that trains in `folder`, with nothing on its standard output."""
    process = os.fork()
    if process:
        return process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    trained(folder)
    os._exit(0)


def newest(folder: Path) -> int:
    """The step of the newest whole checkpoint."""
    return max((int(path.name[5:]) for path in folder.glob("step-*") if "." not in path.name), default=0)


def killed_at_random(folder: Path, dice: random.Random, seconds: float, goes_on: bool) -> bool:
    """Kills a training within `seconds` of its start, or of its first new checkpoint; False when it was done before."""
    before, process = newest(folder), child(folder)
    while goes_on and newest(folder) == before and not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)
    time.sleep(dice.uniform(0, seconds))  # the moment is what is tried, nothing is waited for
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def main() -> None:
    folder, dice = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    torch.set_num_threads(1)
    whole, killed = folder / "whole", folder / "killed"
    shop(), preprocess()  # read once
    started, uninterrupted, first = time.monotonic(), child(whole), 0.0
    while not os.waitpid(uninterrupted, os.WNOHANG)[0]:
        first = first or (time.monotonic() - started) * bool(newest(whole))
        time.sleep(0.001)
    a_step = (time.monotonic() - started - first) / RECIPE.steps
    told: dict[str, list[Any]] = {"went_on_after": [], "half_done": []}
    for kill in range(KILLS):
        at_start = kill % 2 == 0
        if not killed_at_random(killed, dice, 1.2 * first if at_start else 2 * a_step, not at_start):
            break
        told["half_done"] += [path.name for path in killed.glob("step-*.*")]
        told["went_on_after"].append(newest(killed))
    os.waitpid(child(killed), 0)
    digests = {path.name: json.loads((path / "done.json").read_text()) for path in (whole, killed)}
    print(json.dumps({"kills": len(told["went_on_after"]), **told, **digests}))


if __name__ == "__main__":
    main()
