from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from monitoring.decision import decide
from monitoring.observation import Change, Observation, Rate, Request, Run, Start
from monitoring.policy import RetrainingPolicy
from tests.monitoring.observations import CHAMPION, NEW, NOW, OLD, finding, policy, ran, seen, window

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_new_data_start_a_run_that_takes_them() -> None:
    made = decide(policy(), seen(data=(OLD, NEW)))
    assert (made.decision, made.revision, made.due) == ("start", "shop-bbbb", ["new-data"])
    assert made.run_id == "retrain-20261126T120000-41"
    assert made.asked == {"revision": "shop-bbbb", "architecture": "commercemm", "size": "small", "seed": 17, "release": "switch"}
    assert made.reason == "shop-bbbb changes 20.0% of the products (5.0% are enough) and has 1 new categories."


def test_nothing_new_is_waited_for() -> None:
    made = decide(policy(), seen())
    assert (made.decision, made.run_id, made.asked) == ("wait", None, {})
    assert made.triggers[0].explanation == "There is nothing newer than shop-aaaa."


def test_the_same_observation_from_json_gives_the_same_decision() -> None:
    given = seen(
        data=(OLD, NEW), drift=(window(DAY, finding()),), runs=(ran(DAY),), rates=(Rate("click_rate", 3, 9, 5, 9),),
        started=Start("r", NOW, {"revision": "x"}), request=Request("ada", "why not", NOW), since={"new-data": NOW},
    )  # fmt: skip
    back = Observation.of(json.loads(json.dumps(given.to_json())))
    assert back == given
    assert decide(policy(), back).to_json() == decide(policy(), given).to_json()


REJECTED = (ran(9 * DAY, revision="x", verdict="reject"), ran(8 * DAY, "FAILED", revision="x"))


@pytest.mark.parametrize(
    ("text", "more", "by"),
    [
        ("", {"runs": (ran(HOUR, "RUNNING"),)}, "running"),
        ("", {"rollout": "4"}, "rollout"),
        ("", {"unknown": {"rollout": "rollout.json is no JSON"}}, "sight"),
        ("", {"unknown": {"runs": "no answer"}}, "sight"),
        ("", {"runs": (ran(2 * DAY, verdict="reject"),)}, "news"),
        ("", {"runs": (ran(2 * DAY, verdict="", data_verdict="refused"),)}, "news"),
        ("debounce_minutes: 180", {}, "debounce"),
        ("cool_down: {hours: 24}", {"runs": (ran(20 * HOUR, revision="shop-aaaa"),)}, "cool-down"),
        ("cool_down: {hours: 0, after_rejection_hours: 72}", {"runs": (ran(60 * HOUR, revision="x", verdict="reject"),)}, "cool-down"),
        ("", {"data": (OLD, replace(NEW, since_rejected=Change("x", 0.049))), "runs": REJECTED}, "rejection"),
        ("", {"runs": (ran(HOUR + timedelta(minutes=4), "FAILED"),)}, "retries"),
        ("quiet_hours: [{from: '08:00', to: '18:00'}]", {}, "quiet-hours"),
        ("quiet_hours: [{from: '20:00', to: '13:00', days: [wed]}]", {}, "quiet-hours"),
        ("budget: {runs: 1}", {"runs": (ran(20 * HOUR, revision="x"),)}, "budget"),
        ("budget: {money: 10}", {"runs": (ran(20 * HOUR, revision="x", money=6.0),)}, "budget"),
        ("budget: {gpu_hours: 1}", {"runs": (ran(9 * DAY, revision="x", gpu_hours=2.0),)}, "budget"),
    ],
)
def test_each_constraint_holds_back_what_is_due(text: str, more: dict[str, object], by: str) -> None:
    made = decide(policy(TRIGGER + text if "cool_down" in text else text), seen(**{"data": (OLD, NEW), **more}))
    assert (made.decision, made.run_id, made.held_by) == ("hold", None, [by])
    assert all(each.explanation in made.reason for each in made.constraints if each.holds)


TRIGGER = "triggers: {new-data: {kind: snapshot, changed: 0.05}}\n"


@pytest.mark.parametrize(
    "text", ["quiet_hours: [{from: '20:00', to: '13:00', days: [thu]}]", "quiet_hours: [{from: '08:00', to: '12:00'}]"]
)
def test_outside_quiet_hours_it_starts(text: str) -> None:
    assert decide(policy(text), seen(data=(OLD, NEW))).decision == "start"


@pytest.mark.parametrize(
    ("since", "runs"),
    [
        (Change("x", 0.05), REJECTED),
        (Change("x", 0.001, new_categories=1), REJECTED),
        (Change("w", 0.001), REJECTED),  # of a run before it
        (None, REJECTED),
        (Change("x", 0.001), (replace(REJECTED[0], makers={"code": "old"}),)),
        (Change("x", 0.001), (replace(REJECTED[0], shape="eclip,small,17"),)),
        (Change("x", 0.001), (replace(REJECTED[0], started=CHAMPION.since - DAY),)),  # for the champion before
        (Change("x", 0.001), (*REJECTED[:1], ran(7 * DAY, revision="y", verdict="reject"))),
    ],
)
def test_after_a_rejection_other_data_or_other_code_start_a_run(since: Change | None, runs: tuple[Run, ...]) -> None:
    made = decide(policy(), seen(data=(OLD, replace(NEW, since_rejected=since)), runs=runs, makers={"code": "new"}))
    assert (made.decision, made.revision) == ("start", "shop-bbbb")


def test_a_persons_wish_passes_what_only_spares_and_not_a_run_that_goes_on() -> None:
    wish = Request("ada", "the buyers wait", NOW)
    strict = policy("debounce_minutes: 600\nquiet_hours: [{from: '08:00', to: '18:00'}]")
    made = decide(strict, seen(data=(OLD, NEW), request=wish))
    assert (made.decision, made.to_json()["by"]) == ("start", "person")
    assert "ada asks for it: the buyers wait" in made.reason
    assert decide(strict, seen(request=wish)).decision == "start", "on the same data, if a person wants it"
    assert decide(strict, seen(request=wish, runs=(ran(HOUR, "RUNNING"),))).held_by == ["running"]
    assert decide(policy("budget: {runs: 0}"), seen(request=wish)).held_by == ["budget"]


def test_a_refused_version_is_not_taken_and_the_one_before_it_is() -> None:
    bad = type(NEW)("shop-cccc", "d" * 64, NOW - HOUR, 0.9, refused="40% of the rows are in quarantine")
    made = decide(policy(), seen(data=(OLD, NEW, bad)))
    assert (made.decision, made.revision) == ("start", "shop-bbbb")
    waits = decide(policy(), seen(data=(OLD, bad)))
    assert waits.decision == "wait"
    assert "shop-cccc was refused: 40% of the rows are in quarantine" in waits.triggers[0].explanation


def test_a_decided_run_that_is_not_there_is_started_again_under_its_id() -> None:
    started = Start("retrain-x-7", NOW - HOUR, {"revision": "shop-bbbb", "seed": 17})
    again = decide(policy(), seen(started=started))
    assert (again.decision, again.run_id, again.asked) == ("start", "retrain-x-7", started.asked)
    lost = ran(HOUR, "LOST", run_id="retrain-x-7")
    assert decide(policy(), seen(started=started, runs=(lost,))).run_id == "retrain-x-7"
    for state in ("RUNNING", "SUCCEEDED", "FAILED", "STOPPED"):
        assert decide(policy(), seen(started=started, runs=(ran(HOUR, state, run_id="retrain-x-7"),))).decision == "wait"


@pytest.mark.parametrize(
    ("text", "more", "by"),
    [
        ("quiet_hours: [{from: '08:00', to: '18:00'}]", {}, "quiet-hours"),
        ("", {"rollout": "4"}, "rollout"),
        ("", {"runs": (ran(HOUR, "RUNNING"),)}, "running"),
    ],
)
def test_a_lost_run_waits_for_a_time_at_which_runs_start(text: str, more: dict[str, object], by: str) -> None:
    started = Start("retrain-x-7", NOW - HOUR, {"revision": "shop-bbbb"})
    assert decide(policy(text), seen(**{"started": started, **more})).held_by == [by]
    asked = decide(policy(text), seen(**{"started": replace(started, triggers=("manual",)), **more}))
    assert asked.held_by == ([] if by == "quiet-hours" else [by]), "a person's run keeps what a person may"


def test_a_rollout_that_cannot_be_read_holds_what_is_due() -> None:
    made = decide(policy(), seen(data=(OLD, NEW), unknown={"rollout": "rollout.json is no JSON"}))
    assert made.held_by == ["sight"] and "rollout.json is no JSON" in made.reason


def test_a_run_that_is_lost_again_and_again_waits_longer_each_time_and_is_given_up() -> None:
    given = policy("retries: {most: 3, first_minutes: 10, factor: 2}")
    lost = ran(HOUR, "LOST", run_id="r")
    waits = []
    for attempts in (1, 2, 3, 4):
        for minutes in range(0, 100, 5):
            started = Start("r", NOW - timedelta(minutes=minutes), {"revision": "shop-bbbb"}, attempts)
            if decide(given, seen(started=started, runs=(lost,))).decision == "start":
                waits.append(minutes)
                break
    assert waits == [0, 10, 20]
    assert decide(given, seen(started=Start("r", NOW - DAY, {}, 4), runs=(lost,))).decision == "wait"


def test_a_failed_run_is_tried_again_after_growing_waits_until_a_person_is_needed() -> None:
    given = policy("retries: {most: 2, first_minutes: 30, factor: 4}")
    once, twice = (ran(100 * HOUR, "FAILED"),), (ran(100 * HOUR, "FAILED"), ran(2 * HOUR, "FAILED", cause="disk full"))
    assert decide(given, seen(data=(OLD, NEW), runs=once)).decision == "start"
    held = decide(given, seen(data=(OLD, NEW), runs=twice))
    assert held.held_by == ["retries"]
    assert "disk full" in held.reason
    third = decide(given, seen(data=(OLD, NEW), runs=(*twice, ran(90 * HOUR, "FAILED"))))
    assert "waits for other data or a person" in third.reason
    assert decide(given, seen(data=(OLD, NEW), runs=(*twice, ran(9 * HOUR, "FAILED", revision="shop-cccc")))).held_by == ["retries"]


def test_all_and_any_and_those_that_last_long_enough() -> None:
    given = RetrainingPolicy.parse("""
triggers:
  much: {kind: snapshot, changed: 0.5}
  some: {kind: snapshot, changed: 0.0}
  drift: {kind: drift, groups: [input]}
drift: {consecutive: 1}
when: {any: [much, {all: [drift, some]}]}
debounce_minutes: 30
""")
    fresh = (window(timedelta(minutes=5), finding()),)
    assert decide(given, seen(data=(OLD, NEW))).decision == "wait", "some data alone are not enough"
    assert decide(given, seen(data=(OLD, NEW), drift=fresh)).held_by == ["debounce"]
    assert decide(given, seen(data=(OLD, NEW), drift=fresh, since={"drift": NOW - HOUR})).decision == "start"
    assert decide(given, seen(drift=(window(HOUR, finding()),))).decision == "wait", "drift without new data teaches nothing"


def test_the_default_policy_does_not_retrain_a_fresh_champion_for_nothing() -> None:
    default = RetrainingPolicy.load()
    assert decide(default, seen()).decision == "wait"
    old = seen(champion=type(CHAMPION)("3", "c" * 64, NOW - 100 * DAY, "shop-aaaa"))
    assert decide(default, old).held_by == ["news"], "an old champion on the newest data: the same would come of it"
