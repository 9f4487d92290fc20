"""What a simulated year says: quality and cost by strategy, and of each event when the loop noticed it and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

from loop_world import World

AFTER = 30  # days after an event over which quality is told
BEFORE = 7  # days before it whose drift is not its doing
Entry = dict[str, Any]
Noticed = Callable[[Entry, set[str]], bool]  # of an entry of the diary, and of what had drifted before the event


@dataclass(frozen=True)
class Event:
    """What is asked of the loop: what counts as noticing, within how many days, and what it should do then."""

    noticed: Noticed
    within: int
    should: str
    lasts: str = ""


def _drifted(*names: str) -> Noticed:
    """One of these columns drifts in as many windows as the policy wants, and did not before."""
    return lambda entry, before: any(each.startswith(names) for each in set(entry["confirmed"]) - before)


def _fired(*triggers: str) -> Noticed:
    return lambda entry, before: bool(set(triggers) & set(entry["fired"]))


def _data_refused(entry: Entry, before: set[str]) -> bool:
    return bool(entry["run"]) and entry["run"]["data"] == "failed"


def _rejected(entry: Entry, before: set[str]) -> bool:
    return bool(entry["run"]) and entry["run"]["verdict"] == "reject"


ANSWERS = ("embedding", "score", "margin")  # what a model makes of what it is asked, and how sure it is
PHOTOS = ("brightness", "contrast", "sharpness", *ANSWERS)
SEARCHES = ("oov", "text_chars", "text_words", *ANSWERS)
EVENTS = {
    "bad_file": Event(_data_refused, 1, "refuse the data", "bad_file_lasts"),
    "new_categories": Event(_fired("new-data", "decay"), 3, "retrain"),
    "camera": Event(_drifted(*PHOTOS), 7, "retrain"),
    "season": Event(_drifted(*SEARCHES), 7, "tell; retraining is of no use where quality holds"),
    "labels": Event(_fired("new-data", "decay"), 14, "retrain"),
    "poison": Event(_rejected, 3, "reject the candidate", "poison_lasts"),
}


def summary(world: World, strategies: dict[str, Any], validations: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report."""
    loop = strategies["loop"]
    return {
        "strategies": {name: _strategy(each) for name, each in strategies.items()},
        "happened": {name: _event(name, event, world, loop) for name, event in EVENTS.items()},
        "quality_after": {name: _after(getattr(world.calendar, name), strategies) for name in EVENTS},
        "validations": {name: told for name, told in validations.items() if name},
        "loop_runs": loop.runs,
        "triggers": dict(Counter(trigger for run in loop.runs for trigger in run["fired"]).most_common()),
        "held": dict(Counter(name for entry in loop.diary for name in entry["held_by"]).most_common()),
        "drift_days": sorted({entry["day"] for entry in loop.diary if entry["drifted"]}),
        "by_day": {name: [round(day["right"] / day["of"], 4) for day in each.days] for name, each in strategies.items()},
        "categories_by_day": {name: [day["categories"] for day in each.days] for name, each in strategies.items()},
    }


def _strategy(found: Any) -> dict[str, Any]:
    """Shares of right answers over the year, runs and what they came to, and CPU seconds."""
    parts = {name: round(mean(day[name] for day in found.days), 4) for name in ("categories", "queries", "photos")}
    verdicts = Counter("data refused" if run["data"] == "failed" else "promoted" if run["promoted"] else "rejected" for run in found.runs)
    refused = Counter(reason for run in found.runs for reason in run["why"] if run["data"] != "failed")
    return {
        "right": round(sum(day["right"] for day in found.days) / sum(day["of"] for day in found.days), 4),
        **parts,
        "worst_day": round(min(day["right"] / day["of"] for day in found.days), 4),
        "runs": len(found.runs),
        **{name.replace(" ", "_"): verdicts[name] for name in ("promoted", "rejected", "data refused")},
        "rejected_for": dict(refused.most_common(8)),
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in found.cpu.items()},
        "cpu_seconds_of_runs": round(sum(seconds for name, seconds in found.cpu.items() if name != "watching"), 1),
    }


def _event(name: str, event: Event, world: World, loop: Any) -> dict[str, Any]:
    """When the loop noticed an event, and its first model that learned from data after it; days after the event."""
    day = getattr(world.calendar, name)
    end = day + (getattr(world.calendar, event.lasts) if event.lasts else world.calendar.days)
    seen = [entry for entry in loop.diary if day <= entry["day"] < end]
    before = {each for entry in loop.diary if day - BEFORE <= entry["day"] <= day for each in entry["confirmed"]}
    noticed = next((entry for entry in seen if event.noticed(entry, before)), None)
    runs = [run for run in loop.runs if day <= run["day"] < end]
    promoted = next((run for run in runs if run["promoted"] and run["data_day"] >= day), None)
    days = noticed["day"] - day if noticed else None
    return {
        "day": day,
        "should": event.should,
        "noticed_after_days": days,
        "stated_delay_days": event.within,
        "in_time": days is not None and days <= event.within,
        "by": {name: noticed[name][:400] for name in ("fired", "reason", "drifted", "confirmed")} if noticed else None,
        "new_model_after_days": promoted["day"] - day if promoted else None,
        "runs_in_30_days": len([run for run in runs if run["day"] < day + AFTER]),
        "promoted_in_30_days": len([run for run in runs if run["promoted"] and run["day"] < day + AFTER]),
        "rejected_in_30_days": len([run for run in runs if run["verdict"] == "reject" and run["day"] < day + AFTER]),
    }


def _after(day: int, strategies: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The mean share of right answers in the days after an event, and in as many before it."""
    found = {}
    for name, each in strategies.items():
        before, after = each.days[max(0, day - AFTER) : day], each.days[day : day + AFTER]
        found[name] = {
            side: round(sum(one["right"] for one in part) / max(1, sum(one["of"] for one in part)), 4)
            for side, part in (("before", before), ("after", after))
        }
    return found
