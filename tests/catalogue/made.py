"""What the small catalogue of these tests is made of: twelve products in two categories with image, video and sound."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

Record = dict[str, Any]
Make = Callable[..., Path]
PRODUCTS = 12


def jpeg(width: int, height: int, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A plain JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def noise_jpeg(seed: int) -> bytes:
    """A JPEG of noise, which no cut can leave whole."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def flac(seconds: float = 0.2, rate: int = 16_000) -> bytes:
    """A tone."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(int(seconds * rate)) / 20).astype("float32"), rate, format="FLAC")
    return buffer.getvalue()


def video_file(
    pictures: Iterable[np.ndarray], codec: str = "libx264", kind: str = "mp4", rate: int = 10, muxer: str = "", **options: str
) -> bytes:
    """A video file of these pictures (H, W, 3); `muxer` is an option "name=value" of the container, `options` are the encoder's."""
    import av

    buffer, scheduling = io.BytesIO(), (os.sched_getscheduler(0), os.sched_getparam(0)) if sys.platform == "linux" else None
    with av.open(buffer, "w", format=kind, options=dict([muxer.split("=")]) if muxer else {}) as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        if stream is not None:
            container.mux(stream.encode())
    if scheduling:  # libsvtav1 makes a process of root one of real time, and with it whatever it starts, before which all others wait
        os.sched_setscheduler(0, *scheduling)
    return buffer.getvalue()


def greys(shades: Iterable[float], width: int = 64, height: int = 48) -> Iterable[np.ndarray]:
    """Pictures of one shade each, 0 to 255."""
    return (np.full((height, width, 3), shade, dtype=np.uint8) for shade in shades)


def product(index: int) -> Record:
    """The record of product `index`."""
    return {
        "id": f"p{index}",
        "title": f"Chair number {index}",
        "description": "A good chair",
        "category_path": ["Furniture", "Chairs" if index % 2 else "Tables"],
        "attributes": {"width_cm": 40.5 + index},
        "price": 10.0 + index,
        "images": [f"images/p{index}.jpg"],
        "video": f"video/p{index}.jpg",
        "audio": f"audio/p{index}.flac",
        "licence": "CC0",
    }


def query(index: int) -> Record:
    """The record of the text query for product `index`."""
    return {"qid": f"q{index}", "text": f"chair {index}", "relevant": [f"p{index}"]}


def write_lines(path: Path, records: list[Record | str]) -> None:
    """One record a line; a text stands for itself."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in records))


def write_catalogue(folder: Path, media: Path, products: list[Record | str], queries: list[Record]) -> Path:
    """Writes a catalogue folder with a copy of `media` and returns it."""
    shutil.copytree(media, folder)
    write_lines(folder / "products.jsonl", products)
    write_lines(folder / "queries_text.jsonl", list(queries))
    return folder
