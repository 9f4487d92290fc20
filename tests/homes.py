"""A home that outlives one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from goodsight.settings import settings


@contextmanager
def in_home(home: Path) -> Iterator[None]:
    """Everything inside works in `home`, as the settings tell it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_HOME", str(home))
        settings.cache_clear()
        yield
    settings.cache_clear()
