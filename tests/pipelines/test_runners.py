"""Where steps run: what a container of one is given, and what a user is told when there can be none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from goodsight.errors import GoodsightError
from goodsight.settings import settings
from pipelines.command import app
from pipelines.runners import container, runner_of


def test_a_step_in_a_container_has_home_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOODSIGHT_RUN_PID", "GOODSIGHT_RUNTIME", "SECRET_OF_THE_SHELL"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GOODSIGHT_RUN_ID", "run-7")
    given, root = container(), str(settings().root)
    assert given["user"] == f"{os.getuid()}:{os.getgid()}"
    assert given["read_only"] and given["cap_drop"] == ["ALL"] and given["security_opt"] == ["no-new-privileges"]
    assert [(mount["Source"], mount["Target"]) for mount in given["mounts"]] == [(root, root)]
    assert given["environment"]["GOODSIGHT_HOME"] == root and given["environment"]["GOODSIGHT_RUN_ID"] == "run-7"
    assert not {"GOODSIGHT_RUN_PID", "GOODSIGHT_RUNTIME", "SECRET_OF_THE_SHELL", "PATH"} & given["environment"].keys()


def test_keys_elsewhere_are_mounted_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOODSIGHT_KEYS", str(tmp_path))
    settings.cache_clear()
    assert {mount["Target"] for mount in container()["mounts"]} == {str(settings().root), str(tmp_path)}


def test_without_a_daemon_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(GoodsightError, match=r"No Docker daemon answers(.|\n)*DOCKER_HOST"):
        runner_of("docker", tmp_path)
    assert not (settings().root / "pipeline").exists()


def test_another_runner_is_no_option() -> None:
    told = CliRunner().invoke(app, ["run", "--runner", "podman"])
    assert told.exit_code == 2 and "podman" in told.output
