"""What /v1/status tells of a home, to whom, and that the steps it draws are the pipeline's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from goodsight.settings import settings
from lineage import cluster_runs, feedback
from lineage.feedback_log import FeedbackLog, Given
from lineage.predictions import PredictionLog
from lineage.status import DECISIONS, FEEDBACK_DAYS, GRAPH, Status
from serving.gateway import looking as looks
from serving.gateway.access import Access
from serving.gateway.keys import Keys
from tests.lineage.test_predictions import SOFA, made
from tests.serving.gateway import standing_of_runs as world
from tests.serving.gateway.standing import Held, Stand, problem


def status() -> Status:
    return Status(settings().root, settings().ledger_url, settings().predictions_url)


def test_an_empty_home_has_nothing_to_tell() -> None:
    told = status()(world.now())
    assert told["champion"] is None and told["runs"] == told["decisions"] == told["verdicts"] == told["data"] == told["feedback"] == []
    assert told["drift"]["findings"] == [] and told["costs"]["runs"] == 0 and told["costs"]["cost"] is None


def test_a_home_of_weeks() -> None:
    now = world.now()
    world.history(now)
    world.going(settings().root, now, 5)
    look = status()
    told = look(now)
    assert told["champion"]["version"] == "2" and told["champion"]["age_days"] == pytest.approx(20.9, abs=0.1)
    assert [(each["run_id"], each["state"]) for each in told["runs"]][:2] == [("retrain-live", "RUNNING"), ("broken-4", "FAILED")]
    assert len(told["decisions"]) == DECISIONS and told["decisions"][0]["run_id"] == "retrain-live"
    assert "drift" not in told["decisions"][0] and told["runs"][0]["trigger"] == told["decisions"][0]["seq"]
    brightness = told["drift"]["findings"][0]
    assert brightness["name"] == "brightness" and brightness["drifted"] and len(brightness["points"]) >= 7 * world.WEEKS
    effects = [effect for _, effect, _ in brightness["points"]]
    assert effects == sorted(effects) and [each[2] for each in brightness["points"]] == [effect > world.BOUND for effect in effects]
    assert [each["decision"] for each in told["data"]].count("failed") == 1
    assert told["verdicts"][0]["failed"][0] == "recall_at_10" and told["verdicts"][1]["version"] == "2"
    assert told["costs"]["promoted"] == 2 and told["costs"]["currency"] == "EUR" and told["costs"]["energy_kwh"] > 0
    assert look(now) == told  # from what it kept


def test_steps_of_a_cluster_that_were_silent_came_from_its_cache() -> None:
    for name in ("resolve", "evaluate"):
        cluster_runs.begin(settings().root, "0f6c", name)
    (run,) = status()(world.now())["runs"]
    cached = [step["name"] for step in run["steps"] if step["cached"]]
    assert cached == ["snapshot", "validate", "features", "pretrain", "finetune categorize", "finetune retrieve"]
    assert [step["state"] for step in run["steps"] if not step["cached"]] == ["RUNNING", "RUNNING"]


def test_a_look_counts_the_answers_of_today_and_yesterday_only(monkeypatch: pytest.MonkeyPatch) -> None:
    url, now = settings().predictions_url, datetime.now(UTC).replace(hour=12)
    answers, said = PredictionLog(url), FeedbackLog(url)
    ids = []
    for days in range(FEEDBACK_DAYS + 3):
        row = made(time=(now - timedelta(days=days)).isoformat(timespec="milliseconds"))
        answers.log(row)
        ids.append(row.id)
    assert answers.flush()
    said.give(Given(ids[5], "click", SOFA))
    asked: list[tuple[bool, str]] = []
    read = feedback.rows

    def seen(url: str, query: str, **bound: Any) -> list[dict[str, Any]]:
        asked.append(("FROM predictions" in query, bound["since"][:10]))
        return read(url, query, **bound)

    monkeypatch.setattr(feedback, "rows", seen)
    look, midnight = status(), now.replace(hour=0, minute=0, second=0, microsecond=0)

    def told(at: datetime) -> list[dict[str, Any]]:
        """What a look tells; it is what the log has."""
        found: list[dict[str, Any]] = look(at)["feedback"]
        return found

    assert told(now) == feedback.by_day(url, midnight - timedelta(days=FEEDBACK_DAYS), now) and len(told(now)) == FEEDBACK_DAYS
    asked.clear()
    assert len(told(now + timedelta(minutes=1))) == FEEDBACK_DAYS + 1
    yesterday = f"{midnight - timedelta(days=1):%F}"
    assert {since for _, since in asked} == {yesterday}
    said.give(Given(ids[1], "click", SOFA))
    said.give(Given(ids[6], "click", SOFA))
    clicks = [sum(each["clicks"] for each in told(now + late)) for late in (timedelta(minutes=2), timedelta(minutes=61))]
    assert clicks == [2, 3], "of older days it is told within the hour"
    assert {since for answers, since in asked if answers} == {yesterday}
    asked.clear()
    assert told(now + timedelta(days=1)) == feedback.by_day(url, midnight - timedelta(days=FEEDBACK_DAYS - 1), now + timedelta(days=1))
    assert min(since for answers, since in asked[:-3] if answers) == yesterday, "one more day is finished"


def test_the_steps_are_those_of_the_pipeline() -> None:
    from models.config import TASKS
    from pipelines.retrain import STEPS

    tuned = [f"finetune {task}" for task in TASKS]
    assert sorted(GRAPH) == sorted([*(name for name in STEPS if name != "finetune"), *tuned])
    assert {before for after in GRAPH.values() for before in after} == set(GRAPH) - {"deploy"}


@pytest.mark.anyio
async def test_it_is_for_auditors_and_read_only(stand: Stand, tmp_path: Path) -> None:
    world.history(world.now())
    keys = Keys(settings().api_keys_url)
    may, may_not = keys.create("auditor", ["audit"], 50), keys.create("shop", ["predict"], 50)
    before = {path: path.stat().st_mtime_ns for path in settings().root.rglob("*.db")}
    async with stand(Held(), access=Access(keys)) as it:
        assert (await it.client.get("/status")).status_code == 200  # the page holds nothing
        problem(await it.client.get("/v1/status"), 401)
        problem(await it.client.get("/v1/status", headers={"Authorization": f"Bearer {may_not}"}), 403)
        told = await it.client.get("/v1/status", headers={"Authorization": f"Bearer {may}"})
        assert told.status_code == 200 and told.json()["champion"]["version"] == "2" and told.headers["cache-control"] == "no-store"
        for method in ("POST", "PUT", "DELETE"):
            assert (await it.client.request(method, "/v1/status")).status_code == 405
    assert {path: path.stat().st_mtime_ns for path in settings().root.rglob("*.db") if path in before} == before


@pytest.mark.anyio
async def test_many_who_look_are_one_look(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(looks, "Status", lambda *place: lambda now: looked.append(now) or {"runs": []})
    async with stand(Held()) as it:
        answers: list[httpx.Response] = [await it.client.get("/v1/status") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200} and len(looked) == 1


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_read_is_a_problem_to_try_again(stand: Stand) -> None:
    settings().root.joinpath("ledger.db").write_text("no database")
    async with stand(Held()) as it:
        told = problem(await it.client.get("/v1/status"), 503)
    assert "cannot be read" in told["detail"]
