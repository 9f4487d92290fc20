"""How large our images are: on disk, and what each has for itself beside the layers that others of the four have too.

    k8s/images/build && python benchmarks/images.py

Asks the Docker daemon of DOCKER_HOST. Writes `benchmarks/results/images.json` and prints the table of k8s/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
from machine import HERE, described

from goodsight import __version__
from goodsight.files import read_json, write_json

NAMES = ("gateway", "serve", "train", "pipeline")
WITHOUT_LAYER = ("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "USER")


def measured() -> dict[str, Any]:
    """Bytes of each image, of what it alone has, and of all four together."""
    client = docker.from_env()
    images = {name: client.images.get(f"ghcr.io/goodsight/{name}:{__version__}") for name in NAMES}
    sizes = {name: _layers(image) for name, image in images.items()}
    every = {layer: size for layers in sizes.values() for layer, size in layers.items()}
    found = {}
    for name, layers in sizes.items():
        others = {layer for other, theirs in sizes.items() if other != name for layer in theirs}
        own = sum(size for layer, size in layers.items() if layer not in others)
        revision = images[name].labels["org.opencontainers.image.revision"]
        found[name] = {"bytes": sum(layers.values()), "own_bytes": own, "revision": revision}
    return {"images": found, "together_bytes": sum(every.values())}


def _layers(image: Any) -> dict[str, int]:
    """Layer -> bytes. The history has the sizes, in the order of the layers, with what made no layer between them."""
    made = [step for step in reversed(image.history()) if not step["CreatedBy"].startswith(WITHOUT_LAYER)]
    return dict(zip(image.attrs["RootFS"]["Layers"], (step["Size"] for step in made), strict=True))


def table(report: dict[str, Any]) -> str:
    """The figures as k8s/README.md has them."""
    lines = ["| image | MB | MB that no other of the four has |", "|---|---|---|"]
    lines += [f"| `{name}` | {each['bytes'] / 1e6:,.0f} | {each['own_bytes'] / 1e6:,.0f} |" for name, each in report["images"].items()]
    return "\n".join([*lines, f"| all, shared layers once | {report['together_bytes'] / 1e6:,.0f} | |"])


def main(path: Path = HERE / "results" / "images.json") -> None:
    write_json(path, {**described(), **measured()})
    print(table(read_json(path)))


if __name__ == "__main__":
    main()
