"""One finished run for all that is written about it."""

from __future__ import annotations

import pytest

from tests.lineage.made import Run, made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed."""
    return made(tmp_path_factory.mktemp("run"))
