"""The status page in a real browser: what stands there, a run that goes on, a key, and that anybody can use it."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import uvicorn

from components import figures
from goodsight.settings import settings
from lineage import cluster_runs, record, runs
from serving.gateway.access import Access
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.keys import Keys
from serving.gateway.looking import looking
from serving.gateway.server import listening
from serving.gateway.upstream import Upstream
from tests.browser import NARROW, READABLE, Visit, visits
from tests.homes import in_home
from tests.serving.gateway import standing_of_runs as world
from tests.serving.gateway.standing import Held

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

Visits = Callable[..., Visit]


@contextmanager
def answering(access: Access | None = None) -> Iterator[str]:
    """A gateway before the home of the settings; yields its URL."""
    home, ledger, predictions = settings().root, settings().ledger_url, settings().predictions_url
    gateway = Gateway(Upstream(Held(), 4), 30.0, lambda id: pytest.fail(id), access or Access(), status=looking(home, ledger, predictions))
    port = listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create(gateway), lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a home of many weeks is told of, with a run that goes on."""
    with in_home(tmp_path_factory.mktemp("status")):
        world.history(world.now())
        world.going(settings().root, world.now(), 5)
        with answering() as url:
            yield url


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visits]:
    with visits(browser) as at:
        yield lambda url, address="/status", **how: at(url + address, **how)


def shown(page: Page) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#all")).to_be_visible(timeout=20_000)


def tiles(seen: Visit) -> dict[str, str]:
    """Name -> value."""
    return dict(zip(seen.texts("#tiles h2"), seen.texts("#tiles b"), strict=True))


def test_the_page_tells_how_it_stands(visit: Visits, url: str) -> None:
    seen = visit(url)
    shown(seen.page)
    told = tiles(seen)
    assert told["Champion"] == "Version 2" and told["Now"] == "Finetune categorize" and told["Last decision"] == "Start"
    assert told["Drift"] == "1 changed" and told["Newest data"] == "Passed" and told["Costs in 30 days"] == "0.5301 EUR"
    assert seen.texts("#drift h3")[0] == "Brightness Changed" and len(seen.texts("#drift h3")) == 4
    assert [text.split()[0] for text in seen.texts("#verdicts li")] == ["Reject", "Promote", "Promote"]
    assert "recall_at_10" in seen.texts("#verdicts li")[0]
    assert seen.errors == [] and all(urlsplit(each.url).netloc == urlsplit(url).netloc for each in seen.requests)


def test_what_a_ledger_says_is_text(visit: Visits, url: str) -> None:
    seen = visit(url)
    shown(seen.page)
    assert world.HOSTILE in seen.texts("#decisions li")[0] and seen.page.title() == "Status · Goodsight"
    assert seen.run("document.querySelectorAll('[onerror]').length") == 0 and seen.dialogs == []


def test_a_decision_says_why(visit: Visits, url: str) -> None:
    seen = visit(url)
    shown(seen.page)
    hold = seen.page.locator("#decisions li").nth(1)
    hold.locator("summary").click()
    assert re.search(r"● due\s+drift\s+Brightness changed in two windows", hold.inner_text())
    assert re.search(r"■ holds\s+cool down\s+24 hours after", hold.inner_text())
    assert "38 times" in seen.texts("#decisions li")[2]  # those that say the same are one line


def test_a_line_of_drift_has_a_point_for_each_day_and_says_its_bound(visit: Visits, url: str) -> None:
    seen = visit(url)
    shown(seen.page)
    line = seen.page.locator("#drift .spark").first
    assert "brightness" in line.get_attribute("aria-label") and "counts from 0.2" in line.get_attribute("aria-label")
    points = line.locator("path:not(.under)").get_attribute("d").split("L")
    assert len(points) >= 7 * world.WEEKS and line.locator("line").count() == 1


def test_another_run_is_chosen_by_keyboard_and_kept_in_the_address(visit: Visits, url: str) -> None:
    from playwright.sync_api import expect

    seen = visit(url)
    shown(seen.page)
    seen.page.locator("#run-broken-4").focus()
    seen.page.keyboard.press("Enter")
    expect(seen.page.locator("#run-cause")).to_have_text("The step snapshot failed. No space left on device.")
    assert seen.page.url.endswith("/status?run=broken-4")
    assert seen.run("document.activeElement.id") == "run-broken-4"
    seen.page.reload()
    shown(seen.page)
    assert "broken-4" in seen.texts("#run-name")[0] and "snapshot failed" in seen.page.locator("#graph svg").get_attribute("aria-label")
    seen.page.get_by_text("Each step in figures").click()
    assert seen.texts("#steps tbody th") == ["resolve", "snapshot"]


def test_a_run_that_goes_on_is_followed_without_a_reload(visit: Visits, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    from playwright.sync_api import expect

    with in_home(tmp_path_factory.mktemp("live")), answering() as url:
        seen = visit(url)
        shown(seen.page)
        assert tiles(seen)["Now"] == "Idle" and tiles(seen)["Champion"] == "None yet" and seen.page.locator("#run").is_hidden()
        now = world.now()
        world.going(settings().root, now, 1)
        seen.page.reload()
        expect(seen.page.locator("#graph .live .name")).to_have_text("Snapshot", timeout=20_000)
        seconds = seen.page.locator("#graph .live .took")
        first = seconds.text_content() or ""
        expect(seconds).not_to_have_text(first, timeout=10_000)  # its seconds go on
        for done in (4, 8):
            run = world.going(settings().root, now, done)
            expect(seen.page.locator("#graph .live .name")).to_have_text(run.steps[-1].name.capitalize(), timeout=20_000)
        assert seen.page.locator("#graph .good").count() == 8
        with world.at(world.now()):
            world.ended("retrain-live", 0.1, verdict="promote", version="3")
        expect(seen.page.locator("#run-name .chip")).to_have_text("Succeeded", timeout=20_000)
        assert tiles(seen)["Now"] == "Idle" and seen.errors == []
        assert runs.find(settings().root, settings().ledger_url, "retrain-live").state == "SUCCEEDED"


def test_a_run_on_a_cluster_is_followed_step_by_step(visit: Visits, tmp_path_factory: pytest.TempPathFactory) -> None:
    from playwright.sync_api import expect

    there, used = "0f6c-11", {"seconds": 3.0, "cpu_seconds": 2.0, "gpu_seconds": 0.0, "peak_rss_bytes": 2**30}
    with in_home(tmp_path_factory.mktemp("cluster")), answering() as url:
        home = settings().root
        cluster_runs.begin(home, there, "resolve", "retrain-live")
        seen = visit(url)
        shown(seen.page)
        expect(seen.page.locator("#run-name .chip")).to_have_text("Running")
        for before, step in itertools.pairwise(("resolve", "snapshot", "validate")):
            cluster_runs.end(home, there, before, "done", came={"revision": "shop-2"} if before == "resolve" else {}, **used)
            cluster_runs.begin(home, there, step)
            expect(seen.page.locator("#graph .live .name")).to_have_text(step.capitalize(), timeout=20_000)
        assert seen.page.locator("#graph .good").count() == 2
        expect(seen.page.locator("#run-said")).to_contain_text(f"data shop-2 · on Kubeflow {there}")
        record.run("FAILED", "retrain-live", cause="The step validate failed.", kubeflow=there, **figures.of_run(there))
        expect(seen.page.locator("#run-name .chip")).to_have_text("Failed", timeout=20_000)
        expect(seen.page.locator("#graph .bad .name")).to_have_text("Validate")
        assert tiles(seen)["Now"] == "Idle" and seen.errors == []


def test_the_page_asks_for_a_key_with_the_scope_audit(visit: Visits, tmp_path_factory: pytest.TempPathFactory) -> None:
    from playwright.sync_api import expect

    with in_home(tmp_path_factory.mktemp("locked")):
        world.history(world.now())
        keys = Keys(settings().api_keys_url)
        may, may_not = keys.create("auditor", ["audit"], 50), keys.create("shop", ["predict"], 50)
        with answering(Access(keys)) as url:
            seen = visit(url)
            asks = seen.page.get_by_label("This page asks for an API key")
            expect(asks).to_be_visible(timeout=20_000)
            for wrong, said in (("gs_nonsense", "does not know that key"), (may_not, "does not have the scope audit")):
                asks.fill(wrong)
                seen.page.keyboard.press("Enter")
                expect(seen.page.locator("#key-said")).to_contain_text(said)
                assert seen.page.locator("#all").is_hidden()
            asks.fill(may)
            seen.page.keyboard.press("Enter")
            shown(seen.page)
            assert not asks.is_visible() and tiles(seen)["Champion"] == "Version 2"


def test_what_was_seen_stays_when_the_server_goes(visit: Visits, tmp_path_factory: pytest.TempPathFactory) -> None:
    from playwright.sync_api import expect

    with in_home(tmp_path_factory.mktemp("gone")):
        world.history(world.now())
        world.going(settings().root, world.now(), 3)
        with answering() as url:
            seen = visit(url)
            shown(seen.page)
        expect(seen.page.locator("#fresh")).to_have_text("Not up to date", timeout=20_000)
        assert tiles(seen)["Champion"] == "Version 2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", list(NARROW))
def test_everybody_can_use_it(visit: Visits, url: str, screen: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    seen = visit(url, screen=screen, scheme=scheme)
    shown(seen.page)
    for place in ("#decisions summary", "#steps summary"):
        seen.page.locator(place).first.click()
    found = Axe().run(seen.page).response["violations"]
    assert [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]] == []
    assert seen.run("document.documentElement.scrollWidth") <= NARROW[screen]
    assert min(seen.run(READABLE, None), key=lambda each: each[0])[0] >= 4.5
