"""`goodsight drift`: the report of the champion's real log, in words, as JSON, as pages; and what it says without a champion."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from goodsight.settings import settings
from lineage.feedback_log import FeedbackLog, Given
from lineage.predictions import PredictionLog
from lineage.traffic import read
from monitoring.windows import Champion
from pipelines import drift_command
from pipelines.command import app
from tests.monitoring.test_windows import logged
from tests.monitoring.traffic import traffic

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=6)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose champion answered for six days, the last of them darker photos."""
    monkeypatch.setenv("GOODSIGHT_HOME", str(tmp_path))
    settings.cache_clear()
    monkeypatch.setattr(drift_command, "_known", lambda root, quiet: (Champion("1", SINCE), traffic(1_500, 9)))
    log = PredictionLog(settings().predictions_url)
    for begin, seed, darker in ((SINCE, 1, 0.0), (NOW - timedelta(hours=20), 2, 0.25)):
        for row in traffic(800, seed, begin=begin).to_pylist():
            log.log(logged(row, "1", darker))
    assert log.flush(60)
    return tmp_path


def drift(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["drift", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_report_in_words_and_as_a_page(home: Path) -> None:
    said = drift("--html", str(home / "drift.html"))
    assert "Drift of version 1: brightness of task=categorize drifted" in said and f"Wrote {home / 'drift.html'}" in said
    assert "<h1>Drift of version 1</h1>" in (home / "drift.html").read_text()


def test_the_report_as_json_by_another_policy(home: Path) -> None:
    assert "brightness" in {each["name"] for each in json.loads(drift("--json"))["findings"] if each["drifted"]}
    text = Path(drift_command.__file__).parents[1].joinpath("monitoring", "retraining.yaml").read_text()
    lines = [line if not line.startswith("drift:") else "drift: {ignored: [brightness]}" for line in text.splitlines()]
    (home / "calm.yaml").write_text("\n".join(lines))
    calm = json.loads(drift("--json", "--policy", str(home / "calm.yaml")))
    assert calm["state"] == "compared" and "brightness" not in {each["name"] for each in calm["findings"]}


def test_a_shop_that_begins_to_send_clicks_is_no_drift(home: Path) -> None:
    log, url = FeedbackLog(settings().predictions_url), settings().predictions_url
    searches = read(url, SINCE, NOW, task="search").to_pylist()
    for each in [each for each in searches if each["time"] > NOW - timedelta(days=1)][::2]:
        log.give(Given(each["id"], "click", "p1"))
    assert "no_click" not in {each["name"] for each in json.loads(drift("--json"))["findings"]}
    for each in [each for each in searches if each["time"] < SINCE + timedelta(days=1)][::2]:
        log.give(Given(each["id"], "click", "p1"))
    [found] = [each for each in json.loads(drift("--json"))["findings"] if each["name"] == "no_click"]
    assert not found["drifted"] and 0.4 < found["before"]["rate"] < 0.6 and 0.4 < found["now"]["rate"] < 0.6


def test_without_a_champion_the_command_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["drift", "--home", str(tmp_path)])
    assert done.exit_code and "No version is champion" in str(done.exception)
