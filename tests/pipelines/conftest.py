"""What tests of the controller share."""

from __future__ import annotations

import pytest

from pipelines import observe


@pytest.fixture
def no_digest_of_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the sources of half the house."""
    monkeypatch.setattr(observe, "code_of_steps", lambda: "c" * 64)
