"""Settings come from the environment, with defaults for one machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goodsight.errors import InputError
from goodsight.settings import QUIET_LIBRARIES, settings, silence_telemetry


def test_all_state_is_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path / "state"))
    settings.cache_clear()
    found = settings()
    assert found.root == tmp_path / "state"
    assert found.mlflow_uri == f"sqlite:///{tmp_path}/state/mlflow.db"
    assert found.ledger_url == f"sqlite:///{tmp_path}/state/ledger.db"
    assert not (tmp_path / "state").exists()


def test_the_default_home_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOODSIGHT_HOME")
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    assert settings().root == tmp_path / ".goodsight"


def test_home_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GOODSIGHT_HOME", "~/shop")
    settings.cache_clear()
    assert settings().root == tmp_path / "shop"


def test_servers_elsewhere_take_the_place_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("GOODSIGHT_LEDGER_URI", "postgresql://db/ledger")
    monkeypatch.setenv("GOODSIGHT_INFERENCE_PORT", "9000")
    settings.cache_clear()
    assert (settings().mlflow_uri, settings().ledger_url, settings().inference_port) == (
        "http://mlflow:5000",
        "postgresql://db/ledger",
        9000,
    )


@pytest.mark.parametrize(
    "name, value",
    [("INFERENCE_PORT", "http"), ("INFERENCE_PORT", "70000"), ("THREADS", "0"), ("MAX_QUARANTINED", "20%")],
)
def test_a_wrong_value_is_named_with_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GOODSIGHT_{name}", value)
    settings.cache_clear()
    with pytest.raises(InputError, match=f"GOODSIGHT_{name}.*{value}"):
        settings()


def test_telemetry_is_off_unless_the_user_has_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in QUIET_LIBRARIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    silence_telemetry()
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    assert {name: os.environ[name] for name in QUIET_LIBRARIES} == QUIET_LIBRARIES | {"HF_HUB_OFFLINE": "0"}
