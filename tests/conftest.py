"""Every test has a home of its own and one thread of torch; nothing calls home, nothing is written to the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goodsight.settings import settings, silence_telemetry
from tests.servers import postgres_url, redis_url

__all__ = ["postgres_url", "redis_url"]

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # before torch is imported, here and in the processes that tests start
os.environ["GOODSIGHT_THREADS"] = "1"
os.environ["NUMBA_DISABLE_JIT"] = "1"  # ranx would compile for a minute what our few examples run in milliseconds
silence_telemetry()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole pipelines first: one worker is busy with them while the other does the rest."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The home of fixtures that live longer than one test."""
    os.environ["GOODSIGHT_HOME"] = str(tmp_path_factory.mktemp("home"))
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _home(_session_home: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; settings are read again, so that a test may set any GOODSIGHT_* before it calls us."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GOODSIGHT_HOME", str(home))
    settings.cache_clear()
    return home
