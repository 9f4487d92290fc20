"""A small real catalogue for the end-to-end tests: some of the furniture sample, undamaged or damaged, and the command to run on it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from samples import furniture

GOODSIGHT = [str(Path(sys.executable).with_name("goodsight"))]
LENIENT_POLICY = """
confidence: 0.95
power: 0.8
resamples: 200
seed: 0
min_items_in_common: 10
metrics:
  leaf_accuracy: {floor: 0.0, margin: 1.0}
"""


def command(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `goodsight` to its end, as a user would."""
    return subprocess.run([*GOODSIGHT, *arguments], env=surroundings(home, **environment), capture_output=True, text=True, check=False)


def surroundings(home: Path, **environment: str) -> dict[str, str]:
    return {**os.environ, "GOODSIGHT_HOME": str(home), "GOODSIGHT_THREADS": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "160", **environment}


def last_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


DOCUMENTED = "sh3d-Scopia-leather-sofa"


def some_furniture(folder: Path, count: int) -> list[dict[str, Any]]:
    """Copies every n-th product of the sample, and the one the documents name, with media and queries into `folder`; returns them."""
    everything = [json.loads(line) for line in (furniture() / "products.jsonl").read_text().splitlines()]
    records = everything[:: len(everything) // (count - 1)][: count - 1]
    records += [record for record in everything if record["id"] == DOCUMENTED and record not in records]
    for record in records:
        for media in (*record["images"], record.get("video"), record.get("audio")):
            if media:
                (folder / media).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(furniture() / media, folder / media)
    for name in ("queries_text.jsonl", "categories.txt"):
        shutil.copy(furniture() / name, folder / name)
    write_products(folder, records)
    return records


def write_products(folder: Path, records: list[dict[str, Any]], broken: str = "") -> None:
    lines = [json.dumps(record) for record in records] + ([broken] if broken else [])
    (folder / "products.jsonl").write_text("\n".join(lines) + "\n")


def damage(folder: Path, records: list[dict[str, Any]]) -> None:
    """Appends the seven bad rows: truncated JPEG, duplicate id, empty title, unknown category, huge image, NaN price, broken JSON."""
    good = records[0]
    whole = (folder / good["images"][0]).read_bytes()
    (folder / "images" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    page = io.BytesIO()
    Image.new("L", (10_000, 10_000), 255).save(page, "PNG")
    (folder / "images" / "huge.png").write_bytes(page.getvalue())
    bad = [
        {**good, "id": "bad-jpeg", "images": ["images/truncated.jpg"]},
        {**good},
        {**good, "id": "bad-title", "title": ""},
        {**good, "id": "bad-category", "category_path": ["Spacecraft"]},
        {**good, "id": "bad-size", "images": ["images/huge.png"]},
        {**good, "id": "bad-price", "price": float("nan")},
    ]
    write_products(folder, records + bad, broken='{"id": "bad-json", "title": ')
