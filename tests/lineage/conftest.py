"""One finished run for all that is written about it, and a home with all that an audit looks at."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from goodsight.settings import settings
from tests.lineage.audited import LARGE, Audited, make
from tests.lineage.made import Run, made


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
