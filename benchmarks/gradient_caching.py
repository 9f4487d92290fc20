"""Gradient caching: what a large contrastive batch holds in memory when it goes through in chunks (models/chunks.py).

    python benchmarks/gradient_caching.py [--small 256] [--large 4096]

CommerceMM's image-text contrast through its towers, forward and backward, on random pixels and words: the small batch at once, the
large batch in chunks of the small one, each in a process of its own, and their peaks compared. Then the gradients of one batch both
ways. `base` on the GPU where there is one, else `small`, whose towers a CPU trains in minutes at --small 32 --large 512. Writes
`benchmarks/results/gradient-caching.json`, or `gradient-caching-cuda.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import described, wait_for
from torch import Tensor

from goodsight.files import write_json
from models.architectures import build
from models.chunks import in_chunks
from models.config import model_config
from models.dataset import Batch
from models.device import device
from models.objectives.contrast import symmetric_info_nce
from models.speed import memory_mib
from models.training import precision

HERE = Path(__file__).resolve().parent
WORDS = 32


def pages(rows: int, side: int) -> Batch:
    """Random pictures `(rows, 1, 3, side, side)` float16 and words `(rows, WORDS)`."""
    there = torch.ones(rows, 1, dtype=torch.bool)
    pixels = torch.randn(rows, 1, 3, side, side, dtype=torch.float16)
    words = torch.randint(2000, 20000, (rows, WORDS))
    return {"image": pixels, "image_mask": there, "text_ids": words, "text_mask": there.expand(-1, WORDS)}


class Contrast:
    """The image-text contrast of CommerceMM, its towers learning."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.place = device()
        size = "base" if self.place.type == "cuda" else "small"
        self.config = replace(model_config("commercemm", size), trained_towers=True, dropout=0.0)
        self.model: Any = build(self.config).to(self.place).train()
        for part in self.model.modules():
            if isinstance(part, torch.nn.Dropout | torch.nn.BatchNorm2d):
                part.eval()  # a batch's statistics are those of a chunk: not what is compared
        self.bf16 = precision(self.place)[0].startswith("bf16")

    def step(self, batch: Batch, chunk: int, bf16: bool) -> float:
        """Forward and backward; returns the loss, the gradients are in the weights."""
        rows = len(batch["text_ids"])
        fits = torch.eye(rows, dtype=torch.bool, device=self.place)

        def embed(part: Batch) -> tuple[Tensor, ...]:
            tokens = self.model.encode(part)
            return self.model.image_embedding(tokens), self.model.text_embedding(tokens)

        self.model.zero_grad(set_to_none=True)
        with torch.autocast(self.place.type, torch.bfloat16, enabled=bf16):
            image, text = in_chunks(embed, batch, chunk)
            loss = symmetric_info_nce(image.float(), text.float(), fits, self.model.scale, chunk)
        loss.backward()
        wait_for(self.place)
        return float(loss.detach())


def one(rows: int, chunk: int) -> dict[str, Any]:
    """Peak memory beyond what model and batch take, and seconds, of a batch of `rows`."""
    contrast = Contrast()
    batch = pages(rows, contrast.config.image_size)
    if contrast.place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before, started = memory_mib(contrast.place), time.perf_counter()
    loss = contrast.step(batch, chunk, contrast.bf16)
    seconds = time.perf_counter() - started
    return {"rows": rows, "chunk": chunk, "mib": memory_mib(contrast.place) - before, "seconds": seconds, "loss": loss}


def gradients_apart(rows: int, chunk: int) -> float:
    """The largest difference of a gradient at once and in chunks, in float32, as a share of the longest."""
    contrast = Contrast()
    batch, found = pages(rows, contrast.config.image_size), []
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for size in (0, chunk):
        contrast.step(batch, size, bf16=False)
        found.append([value.grad.clone() for value in contrast.model.parameters() if value.grad is not None])
    longest = max(float(value.abs().max()) for value in found[0])
    return max(float((one - other).abs().max()) for one, other in zip(*found, strict=True)) / longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=256)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--one", type=int, nargs=2, metavar=("ROWS", "CHUNK"), help="what one process measures")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(*chosen.one)))
        return
    rows = []
    for batch, chunk in ((chosen.small, 0), (chosen.large, chosen.small)):
        done = subprocess.run([sys.executable, __file__, "--one", str(batch), str(chunk)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    apart = gradients_apart(max(4, chosen.small // 4), max(2, chosen.small // 32))
    report = {"benchmark": "gradient-caching", **described(), "size": Contrast().config.size, "batches": rows}
    report |= {"memory_ratio": rows[1]["mib"] / rows[0]["mib"], "gradients_apart": apart}
    write_json(HERE / "results" / f"gradient-caching{'-cuda' if device().type == 'cuda' else ''}.json", report)
    print(json.dumps({name: report[name] for name in ("batches", "memory_ratio", "gradients_apart")}, indent=2))


if __name__ == "__main__":
    main()
