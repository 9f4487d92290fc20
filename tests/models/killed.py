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


def main() -> None:
    folder, dice = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    torch.set_num_threads(1)
    whole, killed = folder / "whole", folder / "killed"
    shop(), preprocess()  # read once
    started, uninterrupted, first = time.monotonic(), child(whole), 0.0
    while not os.waitpid(uninterrupted, os.WNOHANG)[0]:
        first = first or (time.monotonic() - started) * any(whole.glob("step-*"))
        time.sleep(0.01)
    a_kill = (time.monotonic() - started - first) / KILLS / 2  # so that it is not done before the last
    told: dict[str, list[Any]] = {"went_on_after": [], "half_done": []}
    kills = 0
    while kills < KILLS:
        process = child(killed)
        time.sleep(dice.uniform(0.5 * first, first + 2 * a_kill))  # the moment is what is tried, nothing is waited for
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):  # it was done before
            break
        kills += 1
        names = [path.name for path in killed.glob("step-*")]
        told["half_done"] += [name for name in names if "." in name]
        told["went_on_after"].append(max((int(name[5:]) for name in names if "." not in name), default=0))
    os.waitpid(child(killed), 0)
    digests = {path.name: json.loads((path / "done.json").read_text()) for path in (whole, killed)}
    print(json.dumps({"kills": kills, **told, **digests}))


if __name__ == "__main__":
    main()
