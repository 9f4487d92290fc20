"""Real tiny models (random weights), signed, their indexes, and a home in which one of them is deployed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image

from goodsight.digests import HOUSE
from goodsight.settings import settings
from lineage.signing import sign
from models.architectures import build
from models.bundle import Bundle
from models.candidate import assemble
from models.config import TASKS, model_config
from models.preprocess import preprocess_for
from models.towers import tokenizer_of
from serving.deploy import Probe, deploy
from serving.index import build_index
from serving.torchserve import Ports

LABELS = ["Lighting > Lamp", "Seating > Chair", "Seating > Sofa", "Storage > Shelf"]
TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green", "black") for thing in ("sofa", "chair", "lamp", "shelf", "bed")]
KEYS = tempfile.TemporaryDirectory(prefix="goodsight-keys-")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """One key pair for all of these tests and their fixtures: models live longer than the home of a test.

    xdist calls this for the tests of every folder.
    """
    if not item.path.is_relative_to(Path(__file__).parent):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_KEYS", KEYS.name)
        settings.cache_clear()
        return (yield)


@dataclass(frozen=True)
class Made:
    """A candidate and its index on disk."""

    candidate: Path
    index: Path
    digest: str


def bundle(task: str, seed: int, architecture: str = "commercemm", name: str = "") -> Bundle:
    torch.manual_seed(seed)
    config = model_config(architecture, "tiny")
    preprocess = preprocess_for(config, tokenizer_of("tiny"))
    labels = LABELS if task == "categorize" else []
    return Bundle(build(config, classes=len(labels)).eval(), preprocess, task, labels, {"name": name} if name else {})


def make_candidate(folder: Path, seed: int, architecture: str = "commercemm", name: str = "") -> Made:
    """A candidate with random weights from `seed`, and the index of `TITLES`. One of another `name` is another one that answers alike."""
    bundles = {task: bundle(task, seed, architecture, name) for task in TASKS}
    for task, fresh in bundles.items():
        fresh.save(folder / "bundles" / task)
    digest = assemble([folder / "bundles" / task for task in TASKS], folder / "candidate")
    sign(folder / "candidate")
    retrieve = bundles["retrieve"]
    with torch.inference_mode():
        vectors = retrieve.model.embed(retrieve.preprocess.batch([None] * len(TITLES), TITLES)).numpy()
    products = pa.table(
        {
            "id": [f"p{row}" for row in range(len(TITLES))],
            "title": TITLES,
            "category": [LABELS[row % len(LABELS)] for row in range(len(TITLES))],
            "price": pa.array([float("nan"), None, *[10.0 + row for row in range(2, len(TITLES))]], pa.float64()),
        }
    )
    provenance = {"candidate": digest, "bundle": retrieve.digest, "snapshot": "s" * 64}
    build_index(vectors, products, provenance, folder / "index")
    return Made(folder / "candidate", folder / "index", digest)


PROBES = [
    Probe("categorize a red sofa", {"task": "categorize", "text": "red sofa"}),
    Probe("search a red sofa", {"task": "search", "text": "red sofa"}),
    Probe("embed a red sofa", {"task": "embed", "text": "red sofa"}),
    Probe("recommend beside a red sofa", {"task": "recommend", "text": "red", "liked": ["p0"]}),
    Probe("similar to a red sofa", {"task": "similar", "product": "p0"}),
]


@pytest.fixture(scope="session")
def make() -> Callable[..., Made]:
    return make_candidate


@pytest.fixture(scope="session")
def probes() -> list[Probe]:
    return PROBES


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """Makes a red PNG with sides of so many pixels."""

    def draw(side: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (side, side), "red").save(out, "PNG")
        return out.getvalue()

    return draw


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_candidate(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_candidate(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="session")
def deployed(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which `made` is deployed as version 1 and nothing runs. Copy it before changing it."""
    home = tmp_path_factory.mktemp("home")
    deploy(made.candidate, made.index, "1", PROBES, home)
    return home


@dataclass
class Served:
    """A `goodsight serve` in a process of its own."""

    process: subprocess.Popen[str]
    first_line: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.first_line.partition(" at ")[2].partition(". ")[0]

    def end(self) -> str:
        """Ctrl-C; returns what it said until it ended."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=60)
        return said


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], Served]]:
    """Starts `goodsight serve` for a home on free ports and returns when it says that it serves."""
    started: list[subprocess.Popen[str]] = []

    def start(home: Path) -> Served:
        ports = Ports.free()
        environment = {
            **os.environ,
            "GOODSIGHT_HOME": str(home),
            "GOODSIGHT_INFERENCE_PORT": str(ports.inference),
            "GOODSIGHT_MANAGEMENT_PORT": str(ports.management),
            "GOODSIGHT_METRICS_PORT": str(ports.metrics),
            "GOODSIGHT_PORT": str(Ports.free().inference),
            "PYTHONUNBUFFERED": "1",
        }
        code = f"from pathlib import Path; from serving.serve import serve; serve(Path({str(home)!r}))"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command,
            cwd=HOUSE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as the background job of a shell has it
        )
        started.append(process)
        assert process.stdout
        return Served(process, process.stdout.readline())

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
