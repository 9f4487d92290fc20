"""One finished run for all that is written about it, and a home with an empty MLflow store to register in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from goodsight.settings import settings
from tests.lineage.made import Run, made
from tests.lineage.registered import write_work


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed."""
    return made(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without content: making them takes seconds, so each test starts from a copy."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def home(empty_store: Path) -> Path:
    root = settings().root
    root.mkdir(exist_ok=True)
    shutil.copy(empty_store, root)
    return root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two candidates `a` and `b` with what the pipeline's steps make of them (`tests.lineage.registered.write_work`)."""
    return write_work(tmp_path)
