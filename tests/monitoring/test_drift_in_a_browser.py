"""The pages of a drift report in a real browser: ours, and Evidently's beside it. The traffic is hostile: a category is markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitoring.drift import DriftReport, compare
from monitoring.drift_policy import DriftPolicy
from monitoring.drift_report import evidently_pages, page
from tests.browser import READABLE, WIDTHS, Opened, Visit
from tests.monitoring.traffic import Row, traffic

pytestmark = pytest.mark.browser

POLICY = DriftPolicy()
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def changed(row: Row, dice: object) -> Row:
    return {**row, **({"brightness": row["brightness"] - 0.2} if "brightness" in row else {}), "category": HOSTILE}


@pytest.fixture(scope="module")
def report() -> DriftReport:
    return compare(traffic(1_500, 1), traffic(1_000, 2, changed), POLICY)


@pytest.fixture(scope="module")
def file(report: DriftReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drift") / "drift.html"
    path.write_text(page(report, POLICY, report.drifted[:1]))
    return path


def quiet(visit: Visit) -> bool:
    """Whether it opened without an error, asked nobody, and ran nothing that traffic brought."""
    asked = [request.url for request in visit.requests if not request.url.startswith(("file:", "data:", "blob:"))]
    assert (visit.errors, asked, visit.dialogs) == ([], [], [])
    return True


@pytest.mark.parametrize("screen", WIDTHS)
def test_our_page_can_be_read_on_every_screen_and_runs_nothing(opened: Opened, report: DriftReport, file: Path, screen: str) -> None:
    visit = opened(file, screen)
    assert quiet(visit)
    text = " ".join(visit.texts("body"))
    assert HOSTILE in text and "Confirmed by 2 windows" in text
    assert visit.page.locator("tr.drifted").count() == len(report.drifted) > 0
    assert visit.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert min(visit.run(READABLE, None))[0] >= 4.5


def test_evidentlys_page_draws_and_runs_nothing_that_traffic_brought(opened: Opened, tmp_path: Path) -> None:
    [first, *_] = evidently_pages(traffic(900, 1), traffic(700, 2, changed), POLICY, tmp_path)
    visit = opened(first)
    visit.page.get_by_text("Data Drift Summary").first.wait_for()
    assert quiet(visit)
