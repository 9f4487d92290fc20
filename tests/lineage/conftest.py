"""One finished run for all that is written about it, a home with an empty MLflow store, and one with all that an audit looks at."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from goodsight.settings import settings
from tests.lineage.audited import LARGE, Audited, make
from tests.lineage.made import Run, made
from tests.lineage.registered import write_work


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed."""
    return made(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def audited_once(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Not to be changed: `audited` is a copy."""
    work = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_HOME", str(work / "home"))
        settings.cache_clear()
        found = make(work)
    settings.cache_clear()
    return found


@pytest.fixture
def audited(audited_once: Audited, monkeypatch: pytest.MonkeyPatch) -> Audited:
    """A copy of that home, which is this test's own; what is large is small."""
    monkeypatch.setattr("lineage.kept.LARGE", LARGE)
    home = settings().root
    shutil.copytree(audited_once.home, home, dirs_exist_ok=True)

    def here(path: Path) -> Path:
        return home / path.relative_to(audited_once.home)

    return replace(audited_once, home=home, registered=here(audited_once.registered), served=here(audited_once.served))


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
