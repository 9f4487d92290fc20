"""Whether each trigger of the policy fires on an observation, with its figures and a sentence that says why or why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from math import sqrt
from statistics import NormalDist
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

from monitoring import observation
from monitoring.observation import Observation, Rate, Run, Window
from monitoring.policy import MANUAL, MAXIMUM_AGE, Decay, Drift, Makers, NewData, RetrainingPolicy, Schedule

AT_ONCE = ("schedule", "age", "manual")  # kinds that no debounce makes wait
OF_ITS_OWN = ("schedule", "snapshot")  # kinds that know since when: the instant of the calendar, the newest version's arrival
NAMED = 3  # findings in a sentence


@dataclass(frozen=True)
class Fired:
    """How a trigger was judged. `since` is the instant from which it fires without a break, None when it does not."""

    name: str
    kind: str
    fired: bool
    since: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    explanation: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(policy: RetrainingPolicy, seen: Observation) -> list[Fired]:
    """Every trigger of the policy, then the maximum age and a person's wish where there are such."""
    judged = [_one(name, trigger, seen, policy) for name, trigger in policy.triggers.items()]
    if policy.maximum_age_days is not None:
        judged.append(_age(policy.maximum_age_days, seen))
    if seen.request:
        told = f"{seen.request.by} asks for it: {seen.request.reason}"
        judged.append(Fired(MANUAL, "manual", True, seen.request.time.isoformat(), {"by": seen.request.by}, told))
    return judged


def _one(name: str, trigger: Any, seen: Observation, policy: RetrainingPolicy) -> Fired:
    needs, by = JUDGES[trigger.kind]
    for part in needs:
        if part in seen.unknown:
            return Fired(name, trigger.kind, False, explanation=f"Not judged, the {part} cannot be seen: {seen.unknown[part]}")
    fired, since, figures, explanation = by(trigger, seen, policy)
    began = (since if trigger.kind in OF_ITS_OWN else min(seen.since.get(name, since), since)) if fired else None
    return Fired(name, trigger.kind, fired, began.isoformat() if began else None, figures, explanation)


Judged = tuple[bool, datetime, dict[str, Any], str]


def _schedule(trigger: Schedule, seen: Observation, policy: RetrainingPolicy) -> Judged:
    """Due from an instant of the calendar on, until a run starts or the time is over."""
    local = seen.now.astimezone(ZoneInfo(trigger.timezone))
    last = next(CronSim(trigger.cron, local + timedelta(minutes=1), reverse=True)).astimezone(UTC)
    last = last if last <= seen.now else next(CronSim(trigger.cron, local, reverse=True)).astimezone(UTC)
    coming = next(CronSim(trigger.cron, local)).astimezone(UTC)
    late = (seen.now - last) / timedelta(hours=1)
    fired = (seen.first or seen.now) < last and late <= trigger.within_hours and not _answered(seen, last)
    figures = {"last": last.isoformat(), "next": coming.isoformat(), "hours_late": round(late, 2)}
    if fired:
        return True, last, figures, f"The calendar ({trigger.cron}) said {last:%Y-%m-%d %H:%M} UTC, and no run has started since."
    return False, last, figures, f"The calendar ({trigger.cron}) says {coming:%Y-%m-%d %H:%M} UTC next."


def _answered(seen: Observation, tick: datetime) -> bool:
    """Whether a run that did not fail has started since, by whomever."""
    runs = {run.run_id: run for run in seen.runs}
    started = seen.started
    if started and started.run_id not in runs and started.time >= tick:
        return True
    return any(run.started >= tick and run.state in ("RUNNING", "SUCCEEDED", "STOPPED") for run in runs.values())


def _new_data(trigger: NewData, seen: Observation, policy: RetrainingPolicy) -> Judged:
    """The newest version that is not refused, beside what the champion learned from."""
    usable = [each for each in seen.data if not each.refused]
    newest = usable[-1] if usable else None
    if newest is None or (seen.champion and newest.revision == seen.champion.revision):
        named = f"There is nothing newer than {seen.champion.revision}" if seen.champion else "There are no data"
        return False, seen.now, {"changed": 0.0, "new_categories": 0}, f"{named}{_refusals(seen)}."
    figures = {"revision": newest.revision, "changed": round(newest.changed, 4), "new_categories": newest.new_categories}
    enough = newest.changed >= trigger.changed and newest.changed > 0
    enough = enough or bool(trigger.new_categories and newest.new_categories >= trigger.new_categories)
    told = f"{newest.revision} changes {newest.changed:.1%} of the products ({trigger.changed:.1%} are enough)"
    told += f" and has {newest.new_categories} new categories" if newest.new_categories else ""
    return enough, newest.time, figures, f"{told}{_refusals(seen)}."


def _refusals(seen: Observation) -> str:
    refused = [each for each in seen.data if each.refused]
    return f"; {refused[-1].revision} was refused: {refused[-1].refused.rstrip('.')}" if refused else ""


def _drift(trigger: Drift, seen: Observation, policy: RetrainingPolicy) -> Judged:
    """What drifted in each of the last windows that the champion answered, the ends of which lie apart."""
    windows = _row(seen, policy)
    newest = _drifted(windows[-1], trigger) if windows else {}
    wanted = policy.drift.consecutive
    lasting = set(newest).intersection(*(_drifted(each, trigger) for each in windows)) if len(windows) == wanted else set()
    figures = {"windows": len(windows), "drifted": [_figures(newest[each]) for each in sorted(newest)]}
    figures["lasting"] = [" ".join(each).strip() for each in sorted(lasting)]
    if lasting:
        worst = sorted(lasting, key=lambda each: -newest[each]["effect"] / (newest[each]["bound"] or 1))[:NAMED]
        named = ", ".join(f"{name}{_slice(place)} by {newest[name, place]['effect']:.3g}" for name, place in worst)
        more = f" and {len(lasting) - NAMED} more" if len(lasting) > NAMED else ""
        return True, windows[0].until, figures, f"{named}{more} drifted in {wanted} {'windows' if wanted > 1 else 'window'}."
    groups = ", ".join(trigger.groups)
    if newest:
        return False, seen.now, figures, f"{len(newest)} of {groups} drifted, not yet in {wanted} windows."
    return False, seen.now, figures, f"Nothing of {groups} drifted in {len(windows)} of {wanted} windows."


def _row(seen: Observation, policy: RetrainingPolicy) -> list[Window]:
    """The newest windows of the champion whose ends lie `hours_between` apart, as many as drift must last; oldest first."""
    row: list[Window] = []
    for window in reversed([each for each in seen.drift if seen.champion and each.version == seen.champion.version]):
        apart = not row or row[0].until - window.until >= timedelta(hours=policy.drift.hours_between)
        if apart and len(row) < policy.drift.consecutive:
            row.insert(0, window)
    return row


def _drifted(window: Window, trigger: Drift) -> dict[tuple[str, str], dict[str, Any]]:
    """(name, slice) -> finding, of what drifted."""
    found = (each for each in window.findings if each["drifted"] and each["group"] in trigger.groups)
    return {(each["name"], each.get("slice") or ""): each for each in found}


def _figures(finding: dict[str, Any]) -> dict[str, Any]:
    return {name: finding.get(name) for name in ("name", "group", "slice", "effect", "bound", "adjusted_p")}


def _slice(place: str) -> str:
    return f" ({place})" if place not in ("", "all") else ""


def _decay(trigger: Decay, seen: Observation, policy: RetrainingPolicy) -> Judged:
    """Newcombe's interval of the difference of two rates: fired where its lower end is above `drop`."""
    found: dict[str, Any] = {}
    shown = []
    for rate in (each for each in seen.rates if each.name in trigger.rates):
        least = least_drop(rate, trigger.confidence) if rate.of >= trigger.min_labels and rate.reference_of else None
        now, before = _share(rate.right, rate.of), _share(rate.reference_right, rate.reference_of)
        found[rate.name] = {"now": now, "of": rate.of, "reference": before, "reference_of": rate.reference_of, "least_drop": least}
        if least is not None and least > trigger.drop:
            shown.append(f"{rate.name} is {now:.3f} of {rate.of} and was {before:.3f}: {least:.3f} less at least")
    if shown:
        return True, seen.now, found, "; ".join(shown) + "."
    enough = {rate.name for rate in seen.rates if rate.of >= trigger.min_labels}
    few = [name for name in trigger.rates if name not in enough]
    told = f"No drop by more than {trigger.drop:g} is shown"
    return False, seen.now, found, f"{told}; too few labels of {', '.join(few)}." if few else f"{told}."


def least_drop(rate: Rate, confidence: float) -> float:
    """The lower end of the one-sided interval of reference - now (Newcombe 1998, by Wilson's intervals)."""
    z = NormalDist().inv_cdf(confidence)
    now, before = rate.right / rate.of, rate.reference_right / rate.reference_of
    low_before, high_now = wilson(before, rate.reference_of, z)[0], wilson(now, rate.of, z)[1]
    return round(before - now - sqrt((before - low_before) ** 2 + (high_now - now) ** 2), 4)


def wilson(share: float, of: int, z: float) -> tuple[float, float]:
    """Wilson's interval of a share that `of` items showed, `z` standard errors wide to each side."""
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _makers(trigger: Makers, seen: Observation, policy: RetrainingPolicy) -> Judged:
    """What the champion was made with beside what is here now; what is not known of either is no change."""
    made = seen.champion.makers if seen.champion else {}
    other = [name for name in trigger.of if made.get(name) and seen.makers.get(name) and made[name] != seen.makers[name]]
    figures: dict[str, Any] = {name: {"champion": made.get(name), "now": seen.makers.get(name)} for name in trigger.of}
    if other:
        return True, seen.now, figures, f"The champion was made with other {' and '.join(other)}."
    return False, seen.now, figures, f"The champion was made with the same {' and '.join(trigger.of)}, as far as is known."


def _age(days: float, seen: Observation) -> Fired:
    """How old the champion is, whatever `when` says."""
    if seen.champion is None:
        return Fired(MAXIMUM_AGE, "age", False, explanation="There is no champion.")
    due = seen.champion.since + timedelta(days=days)
    age = (seen.now - seen.champion.since) / timedelta(days=1)
    told, fired = f"The champion serves for {age:.1f} of {days:g} days.", seen.now >= due
    return Fired(MAXIMUM_AGE, "age", fired, due.isoformat() if fired else None, {"days": round(age, 2), "of": days}, told)


JUDGES: dict[str, tuple[tuple[str, ...], Callable[[Any, Observation, RetrainingPolicy], Judged]]] = {
    "schedule": ((), _schedule),
    "snapshot": ((observation.DATA, observation.CHAMPION), _new_data),
    "drift": ((observation.DRIFT, observation.CHAMPION), _drift),
    "decay": ((observation.RATES, observation.CHAMPION), _decay),
    "makers": ((observation.MAKERS, observation.CHAMPION), _makers),
}


def trained(runs: tuple[Run, ...]) -> list[Run]:
    """The runs that got past the data and ended by themselves."""
    return [run for run in runs if run.state == "SUCCEEDED" and not run.refused]
