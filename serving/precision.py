"""In which numbers a version answers on this machine: measured when it first loads here, kept under home, and told.

`fp32` is what the weights are. `bf16` keeps the weights of linear layers in bf16 and multiplies in it, `int8` quantizes those layers
dynamically. One of them is taken when the same requests cost at least `EARNS` less of a thread's time and the answers agree: vectors
by their cosine, categories by their order and probability. The requests are titles of the index, alone and beside a drawn picture.
(The image tower multiplies in bf16 wherever that is native, in training as well: it is no part of this choice.)
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodsight.digests import sha256_json
from goodsight.files import read_json, write_json
from models.bundle import Bundle
from models.dataset import Batch

Precision = Literal["fp32", "bf16", "int8"]
EARNS = 0.1  # of the time that fp32 takes
COSINE = 0.999  # of every vector with that of fp32, at least
PROBABILITY = 0.02  # of any category, that may differ
TITLES, TURNS = 16, 5


@dataclass(frozen=True)
class Measured:
    """One precision on the probes: time of the thread, and how far its answers are from those of fp32."""

    cpu_ms: float
    cosine: float = 1.0  # the least
    probability: float = 0.0  # the largest difference
    same: float = 1.0  # share of equal first categories
    failed: str = ""

    def agrees(self) -> bool:
        return not self.failed and self.cosine >= COSINE and self.probability <= PROBABILITY and self.same == 1.0


@dataclass(frozen=True)
class Choice:
    """The precision taken, and what each was measured at."""

    taken: Precision
    measured: dict[Precision, Measured]


class HalfLinear(nn.Module):
    """A linear layer that multiplies in bf16 between float32 and float32."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight, self.bias).float()


def converted(bundle: Bundle, precision: Precision) -> Bundle:
    """The bundle in another precision; its own weights stay as they are."""
    if precision == "fp32":
        return bundle
    model = copy.deepcopy(bundle.model)
    if precision == "bf16":
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear:
                    setattr(module, name, HalfLinear(child))
        return replace(bundle, model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(bundle, model=torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8))


def probes(bundle: Bundle, titles: Sequence[str]) -> list[Batch]:
    """One title alone, one beside a picture, and all of them beside pictures."""
    from PIL import Image

    pictures = [Image.linear_gradient("L").rotate(20 * number).convert("RGB") for number in range(len(titles))]
    batch = bundle.preprocess.batch
    return [batch([None], titles[:1]), batch(pictures[:1], titles[:1]), batch(pictures, titles)]


@torch.inference_mode()
def _answers(bundle: Bundle, batches: list[Batch]) -> tuple[float, list[Tensor]]:
    """The thread's milliseconds for the first two of `batches` (medians, summed), and the answers to all."""
    face = bundle.model.classify if bundle.task == "categorize" else bundle.model.embed

    found, took = [face(batch) for batch in batches], 0.0
    for batch in batches[:2]:
        times = []
        for _ in range(TURNS):
            started = time.thread_time()
            face(batch)
            times.append(1000 * (time.thread_time() - started))
        took += sorted(times)[TURNS // 2]
    return took, found


def measure(bundles: Sequence[Bundle], titles: Sequence[str]) -> Choice:
    """Measures every precision on both bundles and takes the fastest that earns its place."""
    batches = [probes(bundle, titles) for bundle in bundles]
    of_fp32 = [_answers(bundle, each) for bundle, each in zip(bundles, batches, strict=True)]
    found: dict[Precision, Measured] = {"fp32": Measured(round(sum(took for took, _ in of_fp32), 3))}
    for precision in get_args(Precision)[1:]:
        try:
            answers = [_answers(converted(bundle, precision), each) for bundle, each in zip(bundles, batches, strict=True)]
        except RuntimeError as error:  # what torch raises where a backend lacks an operation; any other error is ours
            found[precision] = Measured(0.0, failed=f"{type(error).__name__}: {str(error)[:200]}")
            logging.getLogger(__name__).warning("%s is not to be had here: %s", precision, error)
            continue
        found[precision] = _compared(bundles, answers, of_fp32)
    usable = [name for name, each in found.items() if each.agrees() and each.cpu_ms <= (1 - EARNS) * found["fp32"].cpu_ms]
    taken: Precision = min(usable, key=lambda name: found[name].cpu_ms, default="fp32")
    return Choice(taken, found)


def _compared(bundles: Sequence[Bundle], answers: list[tuple[float, list[Tensor]]], usual: list[tuple[float, list[Tensor]]]) -> Measured:
    cosine, probability, same = 1.0, 0.0, 1.0
    for bundle, (_, ours), (_, theirs) in zip(bundles, answers, usual, strict=True):
        one, other = torch.cat(ours), torch.cat(theirs)
        if bundle.task == "categorize":
            probability = float((one.softmax(dim=1) - other.softmax(dim=1)).abs().max())
            same = float((one.argmax(dim=1) == other.argmax(dim=1)).float().mean())
        else:
            cosine = float(torch.cosine_similarity(one, other, dim=1).min())
    return Measured(round(sum(took for took, _ in answers), 3), round(cosine, 6), round(probability, 6), same)


def choose(bundles: Sequence[Bundle], titles: Sequence[str], home: Path) -> Choice:
    """The choice for these bundles on this machine: the one kept in `home`, or a new one, which is kept there."""
    processor = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")][:1]
    key = sha256_json([[bundle.digest for bundle in bundles], processor, torch.__version__, torch.get_num_threads()])
    path = home / "serving" / "precision" / f"{key[:24]}.json"
    if path.exists():
        kept = read_json(path)
        return Choice(kept["taken"], {name: Measured(**each) for name, each in kept["measured"].items()})
    choice = measure(bundles, titles)
    write_json(path, asdict(choice))
    told = {name: asdict(each) for name, each in choice.measured.items()}
    logging.getLogger(__name__).info("precision %s: %s", choice.taken, told)
    return choice
