"""A model on disk: shapes, weights, preprocessing, labels. Loaded only when every byte is the one that was written; safetensors only.

    config.json        task, architecture, size, shapes
    weights.safetensors
    preprocess.json    how pixels and words become tensors, with its digest
    tokenizer.json
    labels.json        class names, for `categorize`
    provenance.json    snapshot, recipe, parent bundle
    manifest.json      sha256 of every file above, and the bundle's digest over them
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from goodsight.digests import sha256_files, sha256_json
from goodsight.errors import IntegrityError
from goodsight.files import read_json, whole_folder, write_json
from models.architectures import build
from models.architectures.base import Architecture
from models.config import ModelConfig, config_of
from models.preprocess import Preprocess

PRETRAINED = "pretrain"
MANIFEST = "manifest.json"


@dataclass
class Bundle:
    """A verified model with all it needs to answer. `task` is `pretrain`, `categorize` or `retrieve`."""

    model: Architecture
    preprocess: Preprocess
    task: str
    labels: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    def save(self, folder: Path) -> str:
        """Writes the bundle whole to `folder` and returns its digest. `Bundle.load` gives back an equal one."""
        with whole_folder(folder) as aside:
            write_json(aside / "config.json", {"task": self.task, **asdict(self.config)})
            write_json(aside / "labels.json", self.labels)
            write_json(aside / "provenance.json", self.provenance)
            self.preprocess.save(aside)
            weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
            save_file(weights, aside / "weights.safetensors")
            files = sha256_files(aside)
            self.digest = sha256_json(files)
            write_json(aside / MANIFEST, {"digest": self.digest, "files": files})
        return self.digest

    @staticmethod
    def load(folder: Path, device: torch.device | None = None) -> Bundle:
        """Reads the bundle in `folder`, ready to answer on `device` (the CPU, unless told).

        Raises `IntegrityError` when a byte or the preprocessing differs.
        """
        digest = verify(folder)
        config = read_json(folder / "config.json")
        task = config.pop("task")
        labels = read_json(folder / "labels.json")
        preprocess = Preprocess.load(folder)
        promised = read_json(folder / "preprocess.json")["digest"]
        if preprocess.digest != promised:
            raise IntegrityError(
                f"{folder} was trained with preprocessing {promised[:12]}, this code does {preprocess.digest[:12]}.",
                "Serve it with the release that trained it, or train again.",
            )
        model = build(config_of(config), classes=len(labels))
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        model = model.eval().to(device or torch.device("cpu"))
        model.freeze_towers()
        return Bundle(model, preprocess, task, labels, read_json(folder / "provenance.json"), digest)


def verify(folder: Path) -> str:
    """The digest of the bundle in `folder`. Raises `IntegrityError` naming the first file that is not as it was written."""
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise IntegrityError(f"{folder / MANIFEST} is not the manifest of a bundle.", "Fetch the bundle again.")
    found = {name: digest for name, digest in sha256_files(folder).items() if name != MANIFEST}
    for name in sorted(manifest["files"].keys() | found.keys()):
        if manifest["files"].get(name) != found.get(name):
            raise IntegrityError(f"{folder / name} is not the file that the bundle was made with.", "Fetch the bundle again.")
    digest = sha256_json(found)
    if digest != manifest.get("digest"):
        raise IntegrityError(f"{folder / MANIFEST} is not the manifest of its own files.", "Fetch the bundle again.")
    return digest
