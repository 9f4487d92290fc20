"""The overlays as they are rendered, each once."""

from __future__ import annotations

import os
import shutil

import pytest
from checks.manifests import NEEDS, OVERLAYS, external, render


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict]]:
    """Overlay -> objects. Without a kubectl the test is skipped or, where GOODSIGHT_REQUIRE_KUBECTL is 1, fails."""
    if not (shutil.which("kubectl") or shutil.which("kustomize")):
        missing = f"Neither kubectl nor kustomize here: {NEEDS}."
        pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_KUBECTL") == "1" else pytest.skip(missing)
    try:
        return {overlay: render(overlay) for overlay in OVERLAYS}
    except RuntimeError as error:
        pytest.fail(str(error)) if os.environ.get("GOODSIGHT_REQUIRE_KUBECTL") == "1" else pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def declared() -> dict[str, dict[str, list[str]]]:
    return external()
