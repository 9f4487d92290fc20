"""What a controller sees, does when something fails, and leaves in the ledger."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from goodsight.errors import BusyError, GoodsightError, InputError
from goodsight.settings import settings
from lineage import feedback, record
from lineage.feedback_log import FeedbackLog, Given
from lineage.ledger import Ledger
from lineage.predictions import PredictionLog
from monitoring.observation import Champion, Change, Rate, Request
from monitoring.policy import RetrainingPolicy
from pipelines import observe as looking
from pipelines.command import app
from pipelines.platforms import Going
from pipelines.watch import Controller, instant
from tests.lineage.test_predictions import made
from tests.pipelines import controller as process
from tests.pipelines.watched import POLICY, Shop, policy_file, promoted

pytestmark = pytest.mark.usefixtures("no_digest_of_code")


@dataclass
class Pretended:
    """A place that remembers what it was told to start, and says of it what the test wants."""

    started: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    state: str = ""
    broken: str = ""

    def start(self, run_id: str, asked: dict[str, Any]) -> None:
        if self.broken:
            raise OSError(28, self.broken)
        self.started.append((run_id, asked))

    def going(self) -> list[Going]:
        return [Going(self.started[-1][0], self.state, None)] if self.started and self.state else []

    def wait(self) -> None:
        pass


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def place() -> Pretended:
    return Pretended()


@pytest.fixture
def controller(tmp_path: Path, place: Pretended) -> Controller:
    return Controller(policy_file(tmp_path), place)


def payloads() -> list[dict[str, Any]]:
    return [event.payload for event in Ledger(settings().ledger_url).events("trigger")]


def test_the_first_version_starts_a_run_whose_decision_is_in_the_ledger(shop: Shop, controller: Controller, place: Pretended) -> None:
    made = controller.look()
    (event,) = Ledger(settings().ledger_url).events("trigger")
    assert (made.decision, event.payload["run_id"], event.actor) == ("start", made.run_id, "watch")
    asked = {"revision": shop.revisions[0], "architecture": "commercemm", "size": "tiny", "seed": 17, "release": "switch"}
    assert place.started == [(made.run_id, asked)]
    assert event.payload["champion"] is None
    assert event.subjects == [made.seen.data[-1].digest]


def test_while_the_run_goes_on_it_holds_and_once_it_ended_it_is_not_done_again(
    shop: Shop, controller: Controller, place: Pretended
) -> None:
    controller.look()
    place.state = "RUNNING"
    assert controller.look().held_by == ["running"]
    place.state = ""
    record.run("SUCCEEDED", place.started[0][0], shop.revisions[0], "", verdict="reject", data_verdict="passed")
    assert controller.look().held_by == ["news"]
    shop.add()
    again = controller.look()
    assert (again.decision, again.seen.data[-1].since_rejected) == ("start", Change(shop.revisions[0], 1.0))
    assert [each["revision"] for _, each in place.started] == shop.revisions
    shop.add()
    digest = controller.look().seen.data[-1].digest
    told = {"decision": "failed", "reason": "too many bad rows", "raw_digest": digest, "digest": digest}
    counts = dict.fromkeys(("products_in", "kept", "quarantined", "queries_in", "queries_kept", "events_in", "events_kept"), 0)
    record.validation({**told, **counts, "by_reason": {}}, "test")
    fit, refused = controller.look().seen.data[-2:]
    assert (fit.since_rejected, refused.since_rejected) == (Change(shop.revisions[0], 1.0), None), "of what a run would take"


def test_a_run_that_ended_is_not_lost_behind_many_others(shop: Shop, controller: Controller, place: Pretended) -> None:
    made = controller.look()
    record.run("STOPPED", made.run_id or "", shop.revisions[0], "ada: enough", started="2026-01-01T00:00:00+00:00")
    for number in range(looking.RUNS + 1):
        record.run("SUCCEEDED", f"by-hand-{number}", "other-1", "", started=f"2026-01-02T00:{number:02}:00+00:00", verdict="promote")
    next_one = controller.look()
    assert next_one.run_id != made.run_id and made.run_id in [run.run_id for run in next_one.seen.runs]
    assert [run_id for run_id, _ in place.started].count(made.run_id or "") == 1


def test_every_run_of_a_day_counts_for_its_budget(shop: Shop, controller: Controller) -> None:
    begun = instant() - timedelta(hours=20)
    for number in range(looking.RUNS + 3):
        record.run("SUCCEEDED", f"r-{number}", "other-1", "", started=(begun + timedelta(minutes=number)).isoformat(), verdict="promote")
    assert len(controller.look().seen.runs) == looking.RUNS + 3


def test_a_run_that_ends_while_a_decision_is_made_is_told_at_the_next_one(shop: Shop, controller: Controller) -> None:
    first = controller.look()
    assert controller.look().seen.previous == first.seen.now, "not when the ledger had it"


def test_a_wish_that_is_left_to_the_controller_hides_no_end_of_a_run(shop: Shop, controller: Controller) -> None:
    first = controller.look()
    controller.ask(Request("ada", "the buyers wait", instant()))
    controller.ask(Request("ada", "they still wait", instant()))
    assert controller.look().seen.previous == first.seen.now


def test_a_run_that_a_person_wants_stays_one_however_often_it_is_lost(shop: Shop, controller: Controller, place: Pretended) -> None:
    place.state = ""
    controller.look(Request("ada", "the buyers wait", instant()))
    for _ in range(2):
        controller.look()
    started = controller.look().seen.started
    assert started and "manual" in started.triggers and started.attempts > 2


def test_windows_of_drift_are_kept_for_as_long_as_the_policy_wants_to_see_them(
    shop: Shop, controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {"state": "compared", "version": "1", "findings": []}
    monkeypatch.setattr(looking, "_report", lambda *_: report)
    wanted = POLICY.replace("triggers: {", "triggers: {drift: {kind: drift, groups: [input]}, ")
    policy_file(tmp_path, wanted + "drift: {consecutive: 6, hours_between: 1}\n")
    promoted(shop.revisions[0])
    begin = instant()
    for hours in range(8):
        controller.clock = lambda hours=hours: begin + timedelta(hours=hours, minutes=hours)
        made = controller.look()
    assert len(made.seen.drift) == 6
    (drift,) = [each for each in made.triggers if each.name == "drift"]
    assert "not yet" not in drift.explanation


def test_beside_a_champion_it_tells_what_newer_data_change(shop: Shop, controller: Controller) -> None:
    promoted(shop.revisions[0])
    seen = controller.look().seen
    assert (seen.champion and seen.champion.revision, [each.changed for each in seen.data]) == (shop.revisions[0], [0.0])
    shop.add()
    made = controller.look()
    assert made.decision == "start"
    assert made.seen.data[-1].changed == 1.0, "every title is another"
    assert made.seen.champion and made.seen.champion.makers == {"code": "c" * 64, "towers": made.seen.makers["towers"]}
    assert made.to_json()["champion"] == "1"


def test_data_that_their_validation_refused_are_told_and_not_taken(shop: Shop, controller: Controller, place: Pretended) -> None:
    promoted(shop.revisions[0])
    shop.add()
    digest = controller.look().seen.data[-1].digest
    place.started.clear()
    told = {"decision": "failed", "reason": "40% of the rows are in quarantine", "raw_digest": digest, "digest": digest}
    counts = dict.fromkeys(("products_in", "kept", "quarantined", "queries_in", "queries_kept", "events_in", "events_kept"), 0)
    record.validation({**told, **counts, "by_reason": {}}, "test")
    run = payloads()[-1]["run_id"]
    record.run("SUCCEEDED", run, shop.revisions[1], "", verdict=None, data_verdict="failed")
    made = controller.look()
    assert made.decision == "wait" and not place.started
    assert "was refused: 40% of the rows are in quarantine" in made.triggers[0].explanation


def test_a_version_whose_bytes_are_gone_is_told_and_a_newer_one_is_taken(shop: Shop, controller: Controller, place: Pretended) -> None:
    promoted(shop.revisions[0])
    kept = {path for path in (settings().root / "data" / ".dvc" / "cache").rglob("*") if path.is_file()}
    shop.add()
    for path in (settings().root / "data" / ".dvc" / "cache").rglob("*"):
        if path.is_file() and path not in kept:
            path.chmod(0o644)
            path.unlink()
    made = controller.look()
    assert made.decision == "wait" and not place.started
    assert f"{shop.revisions[1]} was refused: It cannot be read" in made.triggers[0].explanation
    shop.add()
    assert controller.look().revision == shop.revisions[2]


def test_a_run_that_could_not_be_started_is_started_at_the_next_look_under_its_id(
    shop: Shop, controller: Controller, place: Pretended
) -> None:
    place.broken = "No space left on device"
    with pytest.raises(OSError, match="No space left"):
        controller.look()
    place.broken = ""
    made = controller.look()
    first, second = payloads()
    assert first["run_id"] == second["run_id"] == made.run_id == place.started[0][0]
    assert len(place.started) == 1
    assert "has no end: start 2 of it" in second["reason"]


def test_mlflow_that_does_not_answer_is_waited_for_longer_each_time(
    shop: Shop, place: Pretended, tmp_path: Path
) -> None:
    """The run fails where it registers, so nothing is registered; it is tried again after 5, then 15 minutes, then left to people."""
    text = POLICY.replace("{most: 100, first_minutes: 0, factor: 1}", "{most: 2, first_minutes: 5, factor: 3}")
    begun = datetime.now(UTC)
    clock = {"now": begun}
    controller = Controller(policy_file(tmp_path, text), place, clock=lambda: clock["now"])
    starts = []
    for minutes in (0, 3, 4, 6, 10, 14, 16, 60, 120):  # runs end at real times, all of them soon after `begun`
        clock["now"] = begun + timedelta(minutes=minutes)
        if controller.look().decision == "start":
            starts.append(minutes)
            record.run("FAILED", place.started[-1][0], shop.revisions[0], "The step register failed. MLflow does not answer.")
    assert starts == [0, 6, 16]
    assert len({run for run, _ in place.started}) == 3
    last = payloads()[-1]
    assert "MLflow does not answer" in last["reason"] and "waits for other data or a person" in last["reason"]
    assert not Ledger(settings().ledger_url).events("registration")


def test_a_database_that_does_not_answer_holds_and_says_so(shop: Shop, controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> list[Any]:
        raise BusyError("Kubeflow does not answer.", "")

    monkeypatch.setattr(controller.platform, "going", gone)
    made = controller.look()
    assert made.held_by == ["sight"]
    assert "runs: Kubeflow does not answer." in made.reason


def test_a_persons_wish_that_was_held_back_is_carried_out_later(shop: Shop, controller: Controller, place: Pretended) -> None:
    promoted(shop.revisions[0])
    controller.look()
    left = controller.ask(Request("ada", "the buyers wait", instant()))
    assert left.held_by == ["leader"] and not place.started
    made = controller.look()
    assert (made.decision, made.due, made.to_json()["by"]) == ("start", ["manual"], "person")
    assert Ledger(settings().ledger_url).events("trigger")[-1].actor == "ada"
    record.run("SUCCEEDED", place.started[0][0], shop.revisions[0], "", verdict="reject", data_verdict="passed")
    assert controller.look().decision == "wait", "one wish, one run"


def test_a_full_disk_ends_no_controller_and_once_there_is_room_the_run_starts(tmp_path: Path, shop: Shop) -> None:
    """No file that it writes may be larger than a page of the ledger's database, so that its looks fail. Then the bound goes."""
    promoted(shop.revisions[0])
    working = process.start(policy_file(tmp_path))
    working.until(lambda: "wait:" in working.said())
    assert working.process.pid
    resource.prlimit(working.process.pid, resource.RLIMIT_FSIZE, (process.PAGE, resource.RLIM_INFINITY))
    shop.add()
    working.until(lambda: working.said().count("failed:") >= 2)
    assert not Ledger(settings().ledger_url).events("run")
    assert not [each for each in payloads() if each["decision"] == "start"]
    resource.prlimit(working.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    working.until(lambda: bool(Ledger(settings().ledger_url).events("run")))
    working.kill()
    assert len({each["run_id"] for each in payloads() if each["decision"] == "start"}) == 1
    Ledger(settings().ledger_url).verify()


def told(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["watch", *arguments, "--json"])
    if isinstance(done.exception, GoodsightError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.output.splitlines()[-1])


def test_the_command_looks_once_and_explains(tmp_path: Path) -> None:
    policy = str(policy_file(tmp_path))
    assert told("--once", "--policy", policy)["decision"] == "wait"
    done = CliRunner().invoke(app, ["watch", "--once", "--policy", policy])
    assert "wait: Nothing is due.\n    new-data: There are no data." in done.output
    held = told("--now", "to see", "--by", "ada", "--policy", policy)
    assert (held["decision"], held["by"], held["constraints"][3]["holds"]) == ("hold", "person", True)
    with pytest.raises(InputError, match="three commands"):
        told("--once", "--now", "x")


def test_for_the_accuracy_of_categories_no_answers_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    since = instant() - timedelta(days=30)
    answers, said = PredictionLog(settings().predictions_url), FeedbackLog(settings().predictions_url)
    for days, category in ((29, "Beds"), (29, "Beds"), (1, "Beds"), (1, "Sofas")):
        time = (instant() - timedelta(days=days)).isoformat(timespec="milliseconds")
        answers.log(row := made(task="categorize", results=[("Beds", 0.9)], model_version="1", time=time))
        assert answers.flush()
        said.give(Given(row.id, "category", category=category))
    asked: list[str] = []
    read = feedback.rows
    monkeypatch.setattr(feedback, "rows", lambda url, query, **bound: asked.append(query) or read(url, query, **bound))
    text = POLICY.replace("triggers: {", "triggers: {decay: {kind: decay, rates: [category_accuracy], drop: 0.03, min_labels: 2}, ")
    look = looking.Look(RetrainingPolicy.load(policy_file(tmp_path, text)), tmp_path, instant(), None, {})
    assert looking._rates(look, Champion("1", "c", since, "", {})) == (Rate("category_accuracy", 1, 2, 2, 2),)
    assert asked and not [query for query in asked if "FROM predictions" in query]


def test_replay_tells_what_another_policy_would_have_done(shop: Shop, place: Pretended, tmp_path: Path) -> None:
    """A week of looks, a new version on the third day that changes everything: recorded as seen at once; weekly would have waited."""
    begun = datetime.now(UTC).replace(microsecond=0)
    clock = {"now": begun}
    controller = Controller(policy_file(tmp_path), place, clock=lambda: clock["now"])
    promoted(shop.revisions[0])
    for hours in range(0, 7 * 24, 6):
        clock["now"] = begun + timedelta(hours=hours)
        if hours == 72:
            shop.add()
        controller.look()
        if hours == 78:
            record.run("SUCCEEDED", place.started[-1][0], shop.revisions[1], "", verdict="reject", data_verdict="passed")
    other = tmp_path / "other.yaml"
    other.write_text("triggers: {never: {kind: snapshot, changed: 1, new_categories: 1000}}\nmaximum_age_days: 6\ncool_down: {hours: 0}")
    days = (f"{begun:%Y-%m-%d}", f"{begun + timedelta(days=8):%Y-%m-%d}")
    same, changed = (told("--replay", *days, "--policy", str(path)) for path in (controller.policy, other))
    assert same["looks"] == 28
    assert same["recorded"]["runs"] == same["replayed"]["runs"] == 1
    (start,) = same["replayed"]["starts"]
    assert (start["revision"], start["outcome"], start["outcome_known"]) == (shop.revisions[1], "reject", True)
    assert [each["triggers"] for each in changed["replayed"]["starts"]] == [["never"]]
    with pytest.raises(InputError, match="No decision is recorded"):
        told("--replay", "2020-01-01", "2020-02-01")

