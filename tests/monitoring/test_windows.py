"""Windows of a real prediction log: what is compared with what, and when nothing is compared yet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lineage.feedback_log import FeedbackLog, Given, Limits
from lineage.predictions import Prediction, PredictionLog
from lineage.traffic import TRAITS
from monitoring.drift import Finding
from monitoring.drift_policy import DriftPolicy, Window
from monitoring.windows import Champion, baseline, current, report
from tests.monitoring.traffic import BEGIN, Row, traffic

POLICY = DriftPolicy(window=Window(days=1, longest_days=10, fewest=100, most=1_000), baseline_days=1)
CHAMPION = Champion("1", BEGIN)
Fill = Callable[..., None]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def fill(url: str) -> Fill:
    """Logs made traffic that begins at a day, one answer every so many minutes."""
    log = PredictionLog(url)

    def put(count: int, day: float, minutes: float = 1, seed: int = 1, version: str = "1", darker: float = 0.0) -> None:
        for number, row in enumerate(traffic(count, seed).to_pylist()):
            time = BEGIN + timedelta(days=day, minutes=minutes * number)
            log.log(logged({**row, "time": time, "id": f"{day}-{row['id']}", "input": f"{day}-{row['id']}"}, version, darker))
        assert log.flush(60)

    return put


def logged(row: Row, version: str, darker: float) -> Prediction:
    traits = {name: row[name] for name in TRAITS if row[name] is not None}
    traits |= {"brightness": traits["brightness"] - darker} if "brightness" in traits else {}
    time, results = row["time"].isoformat(timespec="milliseconds"), [("p1", row["score"]), ("p2", row["second"])]
    told = {name: row[name] for name in ("id", "input", "task", "latency_ms", "status")}
    more = {"modalities": row["modalities"].split(","), "results": results, "traits": traits, "time": time}
    return Prediction(**told, **more, model_version=version, candidate="c", index="i", features="", k=2)


def at(day: float) -> datetime:
    return BEGIN + timedelta(days=day)


def tasks(table: object) -> dict[str, int]:
    found = table["task"].to_pylist()  # type: ignore[index]
    return {task: found.count(task) for task in sorted(set(found))}


def test_drift_is_found_against_the_first_days_of_the_champion(url: str, fill: Fill) -> None:
    reference = traffic(1_500, 9)
    fill(600, 0.0)
    learning = report(url, CHAMPION, reference, at(0.9), POLICY)
    assert (learning.state, learning.drifted, learning.version) == ("learning", (), "1") and learning.findings
    fill(600, 1.1, seed=2)
    fill(600, 2.1, seed=3, darker=0.2)
    quiet = report(url, CHAMPION, reference, at(1.6), POLICY)
    assert (quiet.state, quiet.drifted) == ("compared", ())
    dark = report(url, CHAMPION, reference, at(2.6), POLICY)
    assert {each.name for each in dark.drifted} == {"brightness"} and {each.against for each in dark.findings} == {"baseline"}


def test_other_versions_and_later_answers_are_not_looked_at(url: str, fill: Fill) -> None:
    fill(300, 0.0)
    fill(300, 0.0, seed=2, version="2")
    fill(300, 0.5, seed=3)
    assert set(current(url, CHAMPION, at(0.4), POLICY)["model_version"].to_pylist()) == {"1"}
    assert current(url, CHAMPION, at(0.4), POLICY).num_rows == 300


def test_a_quiet_shop_is_compared_over_a_longer_time(url: str, fill: Fill) -> None:
    fill(1_200, 0.0, minutes=10)  # 144 a day of two tasks
    first = baseline(url, CHAMPION, at(8), POLICY)
    assert first is not None and set(tasks(first).values()) == {POLICY.window.fewest}
    window = current(url, CHAMPION, at(8), POLICY, first)
    assert set(tasks(window).values()) == {POLICY.window.fewest}
    assert max(first["time"].to_pylist()) < min(window["time"].to_pylist())
    assert report(url, CHAMPION, traffic(1_500, 9), at(8), POLICY).state == "compared"


def test_a_shop_with_hardly_any_traffic_is_learning_and_an_empty_log_too(url: str, fill: Fill) -> None:
    assert report(url, CHAMPION, traffic(500, 9), at(5), POLICY).state == "few"
    fill(50, 0.0)
    assert baseline(url, CHAMPION, at(5), POLICY) is None and report(url, CHAMPION, traffic(500, 9), at(5), POLICY).state == "few"


def test_of_much_traffic_a_part_is_taken_that_is_spread_over_the_window(url: str, fill: Fill) -> None:
    fill(2_400, 0.0, minutes=0.5)
    window = current(url, CHAMPION, at(0.9), POLICY)
    times = window["time"].to_pylist()
    assert 700 < window.num_rows <= POLICY.window.most
    assert min(times) < at(0.01) and max(times) > at(0.8)


def click(url: str, day: float, numbers: range, seed: int = 1) -> None:
    """Clicks of those searches that `fill` logged at this day."""
    log = FeedbackLog(url, Limits(days=36_500))
    search = traffic(max(numbers) + 1, seed)["task"].to_pylist()
    for number in numbers:
        if search[number] == "search":
            assert log.give(Given(f"{day}-{seed}-{number}", "click", "p1")).new


def no_click(url: str, day: float) -> Finding | None:
    found = report(url, CHAMPION, traffic(1_500, 9), at(day), POLICY)
    return next((each for each in found.findings if each.name == "no_click"), None)


def test_fewer_clicks_than_in_the_first_days_are_drift(url: str, fill: Fill) -> None:
    fill(600, 0.0)
    fill(600, 1.1, seed=2)
    click(url, 0.0, range(0, 600, 2))
    click(url, 1.1, range(0, 600, 20), seed=2)
    found = no_click(url, 1.6)
    assert found and found.drifted and found.now and found.now["rate"] > 0.9
    assert found.before and 0.4 < found.before["rate"] < 0.6


@pytest.mark.parametrize("begun", [1.1, 0.0], ids=["in week two", "in the midst of the first days"])
def test_a_shop_that_begins_to_send_clicks_is_no_drift(url: str, fill: Fill, begun: float) -> None:
    fill(1_200, 0.0)
    fill(600, 1.1, seed=2)
    assert no_click(url, 1.6) is None, "nobody knows of any click"
    if begun == 0.0:
        click(url, 0.0, range(600, 1_200, 3))
    click(url, 1.1, range(0, 600, 3), seed=2)
    found = no_click(url, 1.6)
    if begun == 0.0:
        assert found and not found.drifted and found.before and 0.6 < found.before["rate"] < 0.7
    else:
        assert found is None


def test_answers_after_the_last_click_are_not_judged(url: str, fill: Fill) -> None:
    fill(600, 0.0)
    fill(1_200, 1.1, minutes=0.5, seed=2)
    click(url, 0.0, range(0, 600, 3))
    click(url, 1.1, range(0, 600, 3), seed=2)  # the others are sent at night
    found = no_click(url, 1.6)
    assert found and not found.drifted and found.now and 0.6 < found.now["rate"] < 0.7
    log = FeedbackLog(url)
    log.withdraw("a script", "Ada", key="")
    assert no_click(url, 1.6) is None
