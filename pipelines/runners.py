"""Where the steps of a local run run: in processes of this machine, or each in a container of the image that a cluster would take."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.shell import LOCAL_RUN
from goodsight.errors import GoodsightError, InputError
from goodsight.settings import RUN_ID, settings

if TYPE_CHECKING:
    from docker import DockerClient
    from kfp import local

MEMORY = "16g"
PASSED = ("GOODSIGHT_", "OMP_", "OPENLINEAGE_", "AWS_")  # beginnings of the variables that containers get too
LABEL = "goodsight.run"
OF_THIS_MACHINE = ("GOODSIGHT_RUN_PID", "GOODSIGHT_RUNTIME", "GOODSIGHT_DEBUG")

def runner_of(name: str, run: Path) -> local.SubprocessRunner | local.DockerRunner:
    """The runner `process` or `docker` for the run that keeps its files in the folder `run`.

    Raises `GoodsightError` when no Docker daemon answers, `InputError` when it has no image of the name in GOODSIGHT_IMAGE.
    """
    from kfp import local

    if name == "process":
        return local.SubprocessRunner(use_venv=False)
    _check(settings().image)
    (run / "workspace").mkdir(parents=True, exist_ok=True)  # else the daemon makes it, as root
    (settings().root / "pipeline").mkdir(parents=True, exist_ok=True)
    return local.DockerRunner(**container())

def end(name: str) -> None:
    """Ends the container of a step that was going on when its run was stopped."""
    if name == "docker":
        import docker

        with contextlib.closing(docker.from_env()) as client, contextlib.suppress(docker.errors.APIError):
            for each in client.containers.list(filters={"label": f"{LABEL}={os.environ.get(RUN_ID, '')}"}):
                each.kill()

def container() -> dict[str, Any]:
    """What `docker run` is told for a step: as narrow as on a cluster, by the user of this process, with home where it is here."""
    root = str(settings().root)
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "read_only": True,
        "tmpfs": {"/tmp": "rw,exec,mode=1777"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "network_mode": "host",  # as a process of this machine reaches MLflow, the ledger and the model server
        "mem_limit": MEMORY,
        "labels": {LABEL: os.environ.get(RUN_ID, "")},
        "mounts": [_mount(place) for place in {root, *_outside(root)}],
        "environment": _environment(),
    }

def _mount(place: str) -> Any:
    from docker.types import Mount

    return Mount(place, place, type="bind")

def _outside(root: str) -> list[str]:
    """Folders of the settings that lie elsewhere than under home."""
    keys = settings().keys_folder
    return [] if keys.is_relative_to(root) else [str(keys)]

def _environment() -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name.startswith(PASSED) and name not in OF_THIS_MACHINE}
    return {**given, "GOODSIGHT_HOME": str(settings().root), LOCAL_RUN: "1"}

def _check(image: str) -> None:
    import docker

    hint = "Start Docker, or name its socket: DOCKER_HOST=unix:///path/to/docker.sock"
    try:
        client: DockerClient = docker.from_env()
    except docker.errors.DockerException as error:
        raise GoodsightError(f"No Docker daemon answers: {error}.", hint) from error
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound as error:
        raise InputError(f"There is no image {image}.", "Build it: k8s/images/build pipeline; or name another: GOODSIGHT_IMAGE") from error
    finally:
        client.close()
