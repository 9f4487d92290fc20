"""Training on a GPU against the CPU of the same machine, with the same code, seeds and data.

    python benchmarks/gpu.py --snapshot FOLDER --table FOLDER     # those of a finished run's artifacts

For each architecture at `small`: the first steps of pretraining on both (do the losses agree? what does a step cost?), then the
whole training on the GPU (pretraining, both fine-tunings, evaluation). For each at `base`: the throughput of a step through its
towers in bf16 on synthetic products, peak memory, and the share of the GPU's bf16 peak it reaches (MFU). Writes
`benchmarks/results/gpu.json`, one architecture after the other; `--only` measures some anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import described, wait_for
from torch.utils.flop_counter import FlopCounterMode

from models.architectures import build
from models.bundle import PRETRAINED, Bundle
from models.config import ARCHITECTURES, ModelConfig, model_config
from models.dataset import Batch, ProductData
from models.device import device
from models.evaluate import evaluate
from models.features import FeatureCache, load_product_data
from models.finetune import finetune_task
from models.preprocess import Preprocess, preprocess_for
from models.pretraining import pretrain
from models.recipes import finetuning, pretraining
from models.speed import bf16_peak
from models.towers import tokenizer_of

RESULT = Path(__file__).resolve().parent / "results" / "gpu.json"
FIRST_STEPS = 10
BASE_BATCH, BASE_STEPS = 64, 10
SHOWN = ("leaf_accuracy", "query_to_product_recall@1", "query_to_product_map", "image_to_product_recall@1", "image_to_text_recall@1")


def loaded(architecture: str, place: torch.device, folders: tuple[Path, Path], cache: Path) -> tuple[Any, Preprocess, ProductData]:
    """A fresh model on `place`, its preprocessing, and the data with features computed there."""
    config = model_config(architecture, "small")
    torch.manual_seed(17)
    model = build(config).load_pretrained().to(place)
    preprocess = preprocess_for(config, tokenizer_of(config.text_tower))
    return model, preprocess, load_product_data(*folders, FeatureCache(cache, model, preprocess), model.learns_from_scenes)


def first_steps(architecture: str, place: torch.device, folders: tuple[Path, Path], cache: Path) -> dict[str, Any]:
    """Losses and seconds of the first steps of pretraining."""
    model, preprocess, data = loaded(architecture, place, folders, cache)
    recipe = pretraining(architecture, "small", len(data.rows("train", "catalogue")), 17)
    losses, took = [], []
    for steps in (1, FIRST_STEPS):  # the first alone warms up
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(17)
            started = time.perf_counter()
            losses = [row["loss"] for row in pretrain(model, data, preprocess, replace(recipe, steps=steps), Path(folder))]
            wait_for(place)
            took.append(time.perf_counter() - started)
    return {"losses": losses, "seconds_a_step": took[-1] / FIRST_STEPS}


def whole(architecture: str, place: torch.device, folders: tuple[Path, Path], cache: Path) -> dict[str, Any]:
    """Pretraining, both fine-tunings and the evaluation; seconds of each and the figures."""
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        wait_for(place)
        seconds[name], started = round(time.perf_counter() - started, 2), time.perf_counter()

    model, preprocess, data = loaded(architecture, place, folders, cache)
    lap("features")
    count = len(data.rows("train", "catalogue"))
    with tempfile.TemporaryDirectory() as folder:
        pretrain(model, data, preprocess, pretraining(architecture, "small", count, 17), Path(folder) / "pretrain")
        lap("pretrain")
        parent, bundles = Bundle(model.eval(), preprocess, PRETRAINED), {}
        for task in ("categorize", "retrieve"):
            recipe = finetuning(architecture, task, "small", count, 17)
            bundles[task], _ = finetune_task(task, parent, data, recipe, Path(folder) / task)
            lap(task)
        figures = evaluate(bundles["categorize"], bundles["retrieve"], data).metrics
        lap("evaluate")
        bundles["retrieve"].save(Path(folder) / "bundle")
        here, there = Bundle.load(Path(folder) / "bundle"), bundles["retrieve"]
        batch = data.products(data.rows("test")[:64])
        with torch.inference_mode():
            apart = (here.model.embed(batch) - there.model.embed(batch).cpu()).abs().max().item()
    return {"seconds": seconds, "figures": {name: figures[name] for name in SHOWN if name in figures}, "saved_and_loaded_on_cpu": apart}


def products(config: ModelConfig, place: torch.device) -> Batch:
    """`BASE_BATCH` products with all that the architecture reads, random."""
    B, side, T = BASE_BATCH, config.image_size, config.text_length
    words, table = (torch.randint(1000, 20000, (B, length)) for length in (T, config.table_length))
    there = torch.ones(B, 1, dtype=torch.bool)
    batch = {"image": torch.randn(B, 1, 3, side, side), "image_mask": there, "text_ids": words, "text_mask": there.expand(B, T)}
    if "table" in config.modalities:
        batch |= {"table_ids": table, "table_mask": there.expand(B, config.table_length)}
        batch |= {"video": torch.randn(B, config.frames, 3, side, side), "video_mask": there.expand(B, config.frames)}
        batch |= {"audio_tokens": torch.randn(B, config.audio_tokens, config.mels), "audio_mask": there.expand(B, config.audio_tokens)}
    return {name: value.to(place) for name, value in batch.items()}


def base_step(architecture: str, place: torch.device) -> dict[str, Any]:
    """Steps of `base` through its towers: class logits and embeddings, backward, optimiser."""
    config = model_config(architecture, "base")
    model = build(config, classes=1000).to(place).train()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-5, fused=place.type == "cuda")
    batch, target = products(config, place), torch.randint(1000, (BASE_BATCH,)).to(place)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(place.type, torch.bfloat16):
            tokens = model.encode(batch)
            logits, vectors = model.classify(tokens), model.embed(tokens)
        loss = torch.nn.functional.cross_entropy(logits.float(), target) + vectors.float().sum()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    with FlopCounterMode(display=False) as counter:
        first = step()
    torch.cuda.reset_peak_memory_stats()
    took = []
    for _ in range(BASE_STEPS + 2):
        started = time.perf_counter()
        last = step()
        wait_for(place)
        took.append(time.perf_counter() - started)
    seconds, work = median(took[2:]), counter.get_total_flops()
    peak = bf16_peak(place)
    return {
        "parameters": sum(value.numel() for value in model.parameters()),
        "seconds_a_step": seconds,
        "products_a_second": BASE_BATCH / seconds,
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "flops_a_step": work,
        "mfu": work / seconds / peak if peak else None,
        "loss": [first, last],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshot", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    chosen = parser.parse_args()
    gpu, cpu = device(), torch.device("cpu")
    if gpu.type != "cuda":
        raise SystemExit("PyTorch finds no GPU here.")
    known = json.loads(RESULT.read_text())["architectures"] if RESULT.is_file() else {}
    report: dict[str, Any] = {"benchmark": "gpu", "architectures": known}
    folders = (chosen.snapshot, chosen.table)
    with tempfile.TemporaryDirectory() as cache:
        for name in chosen.only:
            base = base_step(name, gpu)
            both = {place.type: first_steps(name, place, folders, Path(cache)) for place in (gpu, cpu)}
            apart = max(abs(a - b) / b for a, b in zip(*(row["losses"] for row in both.values()), strict=True))
            small = {**both, "losses_apart": apart, "whole": whole(name, gpu, folders, Path(cache))}
            report["architectures"][name] = {**described(), "threads": torch.get_num_threads(), "small": small, "base": base}
            RESULT.write_text(json.dumps(report, indent=2) + "\n")
            print(name, json.dumps(base), json.dumps(small), flush=True)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
