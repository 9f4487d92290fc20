"""A real Docker daemon, and our images in it as `k8s/images/build` makes them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from goodsight import __version__
from goodsight.digests import HOUSE

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

IMAGES = ("gateway", "serve", "train", "pipeline")
USER = 10001
BUILD_SECONDS = 1_200
# As the pods of the "restricted" standard: no root, no capability, nothing to write to but what is mounted.
NARROW = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "rw,exec,mode=1777"},
    "mem_limit": "8g",
}


def missing(what: str) -> None:
    """Skips the test or, where GOODSIGHT_REQUIRE_CONTAINERS is 1, fails it."""
    pytest.fail(what) if os.environ.get("GOODSIGHT_REQUIRE_CONTAINERS") == "1" else pytest.skip(what)


def _built() -> None:
    """Waits for the images where GOODSIGHT_IMAGES_LOCK names the file that is locked while they are built."""
    if lock := os.environ.get("GOODSIGHT_IMAGES_LOCK"):
        with FileLock(lock, timeout=BUILD_SECONDS):
            pass


def revision() -> str:
    """What is checked out, as the label of an image built from it says."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=HOUSE, capture_output=True, text=True, check=False)

    changed = git("diff", "--quiet", "HEAD", "--").returncode
    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if changed else "")


@dataclass
class Docker:
    """The daemon."""

    client: DockerClient

    @staticmethod
    def found() -> Docker:
        """The daemon that has all our images, made of what is checked out; else the test is skipped or fails."""
        import docker

        _built()
        try:
            client = docker.from_env()
        except docker.errors.DockerException as error:
            missing(f"No Docker daemon answers: {error}")
        for name in IMAGES:
            try:
                label = client.images.get(image(name)).labels.get("org.opencontainers.image.revision")
            except docker.errors.ImageNotFound:
                label = None
            if label != revision():
                missing(f"{image(name)} is not made of this checkout ({label}): k8s/images/build")
        return Docker(client)

    def run(self, name: str, command: Sequence[str], **more: Any) -> str:
        """What a command says in a narrow container. Raises `ContainerError` when it fails."""
        said: bytes = self.client.containers.run(
            image(name), list(command), remove=True, **{**NARROW, "network_mode": "none", "stderr": True, **more}
        )
        return said.decode()

    def start(self, name: str, **more: Any) -> Container:
        """A narrow container that runs the command of its image, on the network of this machine."""
        return self.client.containers.run(image(name), detach=True, **{**NARROW, "network_mode": "host", **more})


def image(name: str) -> str:
    return f"ghcr.io/goodsight/{name}:{__version__}"
