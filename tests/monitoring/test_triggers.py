from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitoring.decision import decide
from monitoring.observation import Champion, Observation, Rate, Window
from monitoring.policy import RetrainingPolicy
from monitoring.triggers import Fired, judge, least_drop, wilson
from tests.monitoring.observations import CHAMPION, NEW, NOW, OLD, finding, ran, seen, window

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def judged(trigger: str, given: Observation, more: str = "") -> Fired:
    (one,) = judge(RetrainingPolicy.parse(f"triggers: {{it: {trigger}}}\n{more}"), given)
    return one


NIGHTLY = "{kind: schedule, cron: '0 3 * * *', timezone: Europe/Berlin, within_hours: 12}"


@pytest.mark.parametrize(
    ("now", "fired", "since"),
    [
        ("2026-11-26T01:59:00+00:00", False, None),
        ("2026-11-26T02:00:00+00:00", True, "2026-11-26T02:00:00+00:00"),  # three in Berlin, in winter
        ("2026-11-26T13:59:00+00:00", True, "2026-11-26T02:00:00+00:00"),
        ("2026-11-26T14:30:00+00:00", False, None),  # too late: the next night is soon enough
        ("2026-07-01T01:00:00+00:00", True, "2026-07-01T01:00:00+00:00"),  # in summer
    ],
)
def test_the_calendar_is_due_at_its_instant_and_for_some_hours(now: str, fired: bool, since: str | None) -> None:
    at = datetime.fromisoformat(now)
    one = judged(NIGHTLY, seen(now=at, first=at - 30 * DAY))
    assert (one.fired, one.since) == (fired, since)
    assert "The calendar (0 3 * * *) says" in one.explanation or fired


def test_a_run_since_answers_the_calendar_and_one_that_failed_does_not() -> None:
    at = NOW.replace(hour=4)
    for state, fired in (("SUCCEEDED", False), ("RUNNING", False), ("FAILED", True), ("LOST", True)):
        run = replace(ran(HOUR, state), started=at - HOUR)
        assert judged(NIGHTLY, seen(now=at, runs=(run,))).fired is fired, state
    before = replace(ran(HOUR), started=at - 5 * HOUR)
    assert judged(NIGHTLY, seen(now=at, runs=(before,))).fired


def test_no_instant_of_a_calendar_is_missed_however_irregular_the_looks_are() -> None:
    """A controller that is down for hours at a time answers every night once, as long as it looks within the hours."""
    text = "triggers: {nightly: {kind: schedule, cron: '0 3 * * *', within_hours: 23}}\ncool_down: {hours: 0}"
    draw, policy = random.Random(7), RetrainingPolicy.parse(text)
    now, runs, starts = datetime(2026, 1, 1, 12, tzinfo=UTC), [], []
    first = now
    while now < datetime(2026, 4, 1, tzinfo=UTC):
        now += timedelta(minutes=draw.choice([1, 15, 15, 200, 600]))
        made = decide(policy, seen(now=now, first=first, data=(OLD, replace(NEW, revision=f"shop-{now:%j}")), runs=tuple(runs)))
        if made.decision == "start":
            starts.append(now)
            runs.append(replace(ran(HOUR), run_id=str(now), started=now, ended=now + timedelta(minutes=1), revision="x"))
    nights = [(start - timedelta(hours=3)).date() for start in starts]
    assert len(nights) == len(set(nights)) == (nights[-1] - nights[0]).days + 1 >= 88


def test_new_data_count_by_share_or_by_categories() -> None:
    few = replace(NEW, changed=0.01, new_categories=1)
    assert not judged("{kind: snapshot, changed: 0.05}", seen(data=(OLD, few))).fired
    assert judged("{kind: snapshot, changed: 0.05, new_categories: 1}", seen(data=(OLD, few))).fired
    assert not judged("{kind: snapshot, changed: 0.05, new_categories: 2}", seen(data=(OLD, few))).fired
    one = judged("{kind: snapshot, changed: 0.0}", seen(data=(OLD, few)))
    assert one.fired and one.since == few.time.isoformat()
    assert one.figures == {"revision": "shop-bbbb", "changed": 0.01, "new_categories": 1}


def test_a_burst_of_versions_is_waited_out() -> None:
    policy = RetrainingPolicy.parse("triggers: {it: {kind: snapshot}}\ndebounce_minutes: 90")
    assert decide(policy, seen(data=(OLD, NEW))).decision == "start"
    again = replace(NEW, revision="shop-cccc", time=NOW - timedelta(minutes=10))
    held = decide(policy, seen(data=(OLD, NEW, again), since={"it": NEW.time}))
    assert held.held_by == ["debounce"]
    assert "must last 80 more minutes" in held.reason


def test_without_a_champion_any_data_are_new() -> None:
    assert judged("{kind: snapshot}", seen(champion=None, data=(replace(OLD, changed=1.0),))).fired
    assert judged("{kind: snapshot}", seen(champion=None, data=())).explanation == "There are no data."


TWICE = "drift: {consecutive: 2, hours_between: 24}"


def test_drift_counts_when_two_windows_a_day_apart_show_the_same() -> None:
    drift = "{kind: drift, groups: [input]}"
    twice = (window(25 * HOUR, finding()), window(HOUR, finding(), finding("language")))
    one = judged(drift, seen(drift=twice), TWICE)
    assert one.fired and one.since == (NOW - 25 * HOUR).isoformat()
    assert one.figures["lasting"] == ["brightness"]
    assert one.explanation == "brightness by 0.4 drifted in 2 windows."
    assert not judged(drift, seen(drift=twice[1:]), TWICE).fired, "one window is chance"
    assert not judged(drift, seen(drift=(window(20 * HOUR, finding()), twice[1])), TWICE).fired, "the windows overlap"
    assert not judged(drift, seen(drift=(twice[0], window(HOUR, finding("contrast")))), TWICE).fired, "one thing, then another"
    assert not judged(drift, seen(drift=(twice[0], window(HOUR))), TWICE).fired, "it went by"
    assert not judged("{kind: drift, groups: [feedback]}", seen(drift=twice), TWICE).fired
    others = tuple(replace(each, version="2") for each in twice)
    assert not judged(drift, seen(drift=others), TWICE).fired, "another champion's"


def test_a_report_becomes_a_window_with_what_drifted() -> None:
    told = {"version": "3", "state": "compared", "findings": [finding(), finding("language", drifted=False)]}
    assert Window.of(told, NOW) == Window(NOW, "3", (finding(),))


DECAY = "{kind: decay, rates: [category_accuracy], drop: 0.03, min_labels: 100, confidence: 0.99}"


@pytest.mark.parametrize(
    ("right", "of", "fired"),
    [(450, 500, False), (430, 500, False), (380, 500, True), (76, 99, False), (40, 100, True), (1800, 2000, False)],
)
def test_a_rate_decays_when_labels_show_it(right: int, of: int, fired: bool) -> None:
    one = judged(DECAY, seen(rates=(Rate("category_accuracy", right, of, 900, 1000),)))
    assert one.fired is fired, one
    assert one.figures["category_accuracy"]["reference"] == 0.9


def test_the_interval_of_the_drop_is_newcombes() -> None:
    """The example of Newcombe (1998, table II): 56/70 against 48/80, two-sided 95 %: 0.0524 to 0.3339."""
    assert least_drop(Rate("it", 48, 80, 56, 70), 0.975) == pytest.approx(0.0524, abs=1e-4)
    assert wilson(0.8, 70, 1.959964) == pytest.approx((0.6918, 0.8773), abs=1e-3)


def test_labels_of_an_unchanged_model_raise_no_alarm() -> None:
    """Twenty years of two-week windows at the default of 3 % and 99 %."""
    draw, alarms = random.Random(3), 0
    for _ in range(520):
        first, now = (sum(draw.random() < 0.9 for _ in range(300)) for _ in range(2))
        alarms += judged(DECAY, seen(rates=(Rate("category_accuracy", now, 300, first, 300),))).fired
    assert alarms <= 2


def test_other_code_or_weights_are_known_by_their_digest() -> None:
    champion = replace(CHAMPION, makers={"code": "a", "towers": "b"})
    makers = "{kind: makers, of: [code, towers]}"
    one = judged(makers, seen(champion=champion, makers={"code": "a", "towers": "x"}))
    assert (one.fired, one.explanation) == (True, "The champion was made with other towers.")
    assert not judged(makers, seen(champion=champion, makers={"code": "a", "towers": "b"})).fired
    assert not judged(makers, seen(champion=CHAMPION, makers={"code": "a"})).fired, "what is not known is no change"


def test_a_champion_may_be_so_old() -> None:
    policy = RetrainingPolicy.parse("triggers: {}\nmaximum_age_days: 30")
    old = Champion("3", "c" * 64, NOW - 31 * DAY, "shop-aaaa")
    assert decide(policy, seen()).decision == "wait"
    made = decide(policy, seen(champion=old, data=(OLD, replace(NEW, changed=0.001))))
    assert (made.decision, made.due) == ("start", ["maximum-age"])
    assert made.triggers[0].since == (NOW - DAY).isoformat()


def test_what_cannot_be_seen_does_not_fire_and_says_so() -> None:
    one = judged("{kind: drift, groups: [input]}", seen(unknown={"drift": "the prediction log does not answer"}))
    assert (one.fired, one.explanation) == (False, "Not judged, the drift cannot be seen: the prediction log does not answer")
