"""Every test has a home of its own and one thread of torch; nothing calls home, nothing is written to the checkout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from goodsight.settings import settings, silence_telemetry
from tests.browser import WIDTHS, Opened, Visit
from tests.homes import in_home
from tests.servers import postgres_url, redis_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.lineage.audited import Audited

__all__ = ["postgres_url", "redis_url"]

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"  # before torch is imported, here and in the processes that tests start
os.environ["GOODSIGHT_THREADS"] = "1"
os.environ["NUMBA_DISABLE_JIT"] = "1"  # ranx would compile for a minute what our few examples run in milliseconds
silence_telemetry()
hypothesis.settings.register_profile("goodsight", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("goodsight")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole pipelines first: one worker is busy with them while the other does the rest. Images may still be being built."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None or item.get_closest_marker("containers") is not None)


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


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser; without one the test is skipped or, where GOODSIGHT_REQUIRE_BROWSER is 1, fails."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing = "No chromium, chromium-browser or google-chrome on the PATH (Debian: apt-get install chromium)."
        pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_BROWSER") == "1" else pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """Overlay of k8s -> its objects. Without a kubectl that renders them skipped or, where GOODSIGHT_REQUIRE_KUBECTL is 1, failed."""
    from checks.manifests import OVERLAYS, render

    try:
        return {overlay: render(overlay) for overlay in OVERLAYS}
    except RuntimeError as error:
        missing = str(error)
    return pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_KUBECTL") == "1" else pytest.skip(missing)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Closed with the module, since the event loop of the driver would be in the way of other tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def opened(browser: Browser) -> Opened:
    """Opens a file on a screen of `WIDTHS`."""
    contexts = {
        screen: browser.new_context(viewport={"width": width, "height": 800}, is_mobile=screen == "phone")
        for screen, width in WIDTHS.items()
    }

    def open_file(path: Path, screen: str = "desktop") -> Visit:
        visit = Visit(contexts[screen].new_page())
        visit.listen()
        visit.page.goto(path.as_uri(), wait_until="load")
        return visit

    return open_file


@pytest.fixture(scope="session")
def audited_once(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """A home with all that an audit looks at. Not to be changed: `audited` is a copy."""
    from tests.lineage.audited import make

    work = tmp_path_factory.mktemp("audited")
    with in_home(work / "home"):
        return make(work)


@pytest.fixture
def audited(audited_once: Audited, monkeypatch: pytest.MonkeyPatch) -> Audited:
    """A copy of that home, which is this test's own; what is large is small."""
    from tests.lineage.audited import LARGE

    monkeypatch.setattr("lineage.kept.LARGE", LARGE)
    home = settings().root
    shutil.copytree(audited_once.home, home, dirs_exist_ok=True)

    def here(path: Path) -> Path:
        return home / path.relative_to(audited_once.home)

    return replace(audited_once, home=home, registered=here(audited_once.registered), served=here(audited_once.served))
