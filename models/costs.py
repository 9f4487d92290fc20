"""What a candidate takes to serve on this CPU: milliseconds of one request, peak memory, bytes on disk.

    python -m models.costs CANDIDATE SNAPSHOT

Measured in a process of its own that does nothing else, as a server would hold the model: one JSON object on the last
line. A request is the title and the image of a product, from encoded bytes to the answer.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from goodsight.digests import HOUSE
from goodsight.errors import GoodsightError
from goodsight.settings import settings

REQUESTS = 16  # products, each asked once to warm up and once on the clock
STATUS = Path("/proc/self/status")


def costs(candidate: Path, snapshot: Path) -> dict[str, float]:
    """`categorize_ms` and `embed_ms` (medians of single requests), `peak_memory_bytes`, `bundle_bytes`.

    Raises `GoodsightError` when the candidate or the snapshot cannot be read.
    """
    command = [sys.executable, "-m", "models.costs", str(candidate.resolve()), str(snapshot.resolve())]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise GoodsightError(f"The costs of {candidate} could not be measured: {last}", f"In {HOUSE} run {' '.join(command)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(candidate: Path, snapshot: Path) -> dict[str, float]:
    """The same, in this process."""
    import torch

    from catalogue.media import decode_image
    from models.candidate import load_candidate

    torch.set_num_threads(settings().threads)
    bundles = load_candidate(candidate).bundles
    categorize, retrieve = bundles["categorize"], bundles["retrieve"]
    requests = _requests(snapshot)

    def batch(bundle: Any, request: dict[str, Any]) -> dict[str, torch.Tensor]:
        image = decode_image(request["images"][0]) if request["images"] else None
        return bundle.preprocess.batch([image], [request["title"]])

    with torch.inference_mode():
        figures = {
            "categorize_ms": _median_ms(requests, lambda request: categorize.model.classify(batch(categorize, request))),
            "embed_ms": _median_ms(requests, lambda request: retrieve.model.embed(batch(retrieve, request))),
        }
    size = sum(file.stat().st_size for file in candidate.rglob("*") if file.is_file())
    return {**figures, "peak_memory_bytes": float(_peak_memory()), "bundle_bytes": float(size)}


def _requests(snapshot: Path) -> list[dict[str, Any]]:
    from catalogue.snapshot import Snapshot

    opened = Snapshot.open(snapshot)
    count = min(REQUESTS, opened.products(["id"]).num_rows)
    return opened.take("products", range(count), ["title", "images"])


def _median_ms(requests: list[dict[str, Any]], answer: Callable[[dict[str, Any]], Any]) -> float:
    took = []
    for request in requests * 2:
        started = time.perf_counter()
        answer(request)
        took.append(1000 * (time.perf_counter() - started))
    return round(median(took[len(requests) :]), 3)


def _peak_memory() -> int:
    """Bytes. `ru_maxrss` is the last resort: it counts the process that started this one."""
    for line in STATUS.read_text().splitlines() if STATUS.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    try:
        print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
    except GoodsightError as error:
        sys.exit(error.message)
