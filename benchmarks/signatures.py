"""Whether one flipped bit anywhere in what is served is refused: 500 random places in the candidate and the index of a home.

    python benchmarks/signatures.py [--home .goodsight] [--places 500]

Works on a copy. A file is drawn, then a byte of it, then a bit; the predictor must refuse, naming that file, before it parses
anything but the signature. Beside it, what verifying costs. Writes `benchmarks/results/signatures.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from machine import described

import serving.predictor
from goodsight.errors import IntegrityError
from lineage.signing import verify
from serving.deploy import current, store


def flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (value,) = file.read(1)
        file.seek(place)
        file.write(bytes([value ^ bit]))


def refusals(folders: list[Path], places: int, seed: int) -> dict[str, Any]:
    """How many of `places` flips were refused naming their file, by kind of file."""
    draw, drawn, refused = random.Random(seed), Counter[str](), Counter[str]()
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    for _ in range(places):
        path = draw.choice(files)
        place, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
        flip(path, place, bit)
        try:
            serving.predictor.Predictor.load(*folders)
        except IntegrityError as error:
            refused[path.name] += str(path) in error.message
        drawn[path.name] += 1
        flip(path, place, bit)
    return {"places": places, "refused": refused.total(), "files": {name: [refused[name], drawn[name]] for name in sorted(drawn)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".goodsight"))
    parser.add_argument("--places", type=int, default=500)
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    os.environ["GOODSIGHT_HOME"] = str(given.home.resolve())
    served = current(given.home)
    if served is None:
        raise SystemExit(f"Nothing is deployed in {given.home}.")
    loaded = serving.predictor.load_candidate
    with tempfile.TemporaryDirectory() as aside:
        folders = [shutil.copytree(store(given.home) / served.archive / name, Path(aside) / name) for name in ("candidate", "index")]
        started = time.perf_counter()
        for folder in folders:
            verify(folder)
        seconds = time.perf_counter() - started
        megabytes = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) / 1e6
        serving.predictor.load_candidate = _too_far
        found = refusals(folders, given.places, given.seed)
        serving.predictor.load_candidate = loaded
        serving.predictor.Predictor.load(*folders)
    report = {"benchmark": "signatures", **described(), "megabytes": megabytes, "verify_seconds": seconds, **found}
    (Path(__file__).resolve().parent / "results" / "signatures.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _too_far(*_: Any) -> None:
    raise AssertionError("A file was parsed before it was verified.")


if __name__ == "__main__":
    main()
