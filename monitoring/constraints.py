"""What holds a run back that is due: each constraint with its figures and a sentence. A person's wish passes those that only spare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from monitoring import observation
from monitoring.observation import Data, Observation, Run, shape_of
from monitoring.policy import DAYS, CoolDown, QuietHours, RetrainingPolicy
from monitoring.triggers import AT_ONCE, Fired, trained

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NEEDED = (observation.CHAMPION, observation.DATA, observation.RUNS, observation.ROLLOUT)
RECENT = 3  # runs that tell what the next one will cost


@dataclass(frozen=True)
class Constraint:
    """`holds` says whether it keeps a run from starting now."""

    name: str
    holds: bool
    figures: dict[str, Any] = field(default_factory=dict)
    explanation: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def candidate(seen: Observation) -> Data | None:
    """The version of the data that a run would take: the newest that is not refused."""
    return next((each for each in reversed(seen.data) if not each.refused), None)


def judge(policy: RetrainingPolicy, seen: Observation, due: list[Fired]) -> list[Constraint]:
    """Every constraint, for a run that the triggers `due` ask for."""
    person = any(each.kind == "manual" for each in due)
    data = candidate(seen)
    always = [sight(seen), running(seen), rollout(seen), _data(seen, data)]
    sparing = [
        _news(policy, seen, data),
        _debounce(policy.debounce_minutes, seen, due),
        _cool_down(policy.cool_down, seen),
        _rejection(policy, seen, data),
        _retries(policy, seen, data),
        quiet_hours(policy.quiet_hours, seen.now),
    ]
    if person:
        sparing = [Constraint(each.name, False, each.figures, f"A person asks. {each.explanation}") for each in sparing]
    return [*always, *sparing, _budget(policy, seen)]


def sight(seen: Observation) -> Constraint:
    missing = [f"{part}: {seen.unknown[part]}" for part in NEEDED if part in seen.unknown]
    return Constraint("sight", bool(missing), {}, "; ".join(missing) or "Champion, data, runs and rollout can be seen.")


def running(seen: Observation) -> Constraint:
    going = [run.run_id for run in seen.runs if run.state == "RUNNING"]
    return Constraint("running", bool(going), {"runs": going}, f"{going[0]} is going on." if going else "No run is going on.")


def rollout(seen: Observation) -> Constraint:
    told = f"Version {seen.rollout} comes in: its rollout ends first." if seen.rollout else "No version comes in."
    return Constraint("rollout", bool(seen.rollout), {"version": seen.rollout or None}, told)


def _data(seen: Observation, data: Data | None) -> Constraint:
    if data:
        return Constraint("data", False, {"revision": data.revision}, f"A run would take {data.revision}.")
    refused = seen.data[-1] if seen.data else None
    told = f"{refused.revision} was refused: {refused.refused}" if refused else "There are no data to train on."
    return Constraint("data", True, {"revision": refused.revision if refused else None}, told)


def _news(policy: RetrainingPolicy, seen: Observation, data: Data | None) -> Constraint:
    """The same data, code and shape give the same model: a run that was done already is not done again."""
    if data is None:
        return Constraint("news", False, {}, "")
    shape = shape_of(policy.run.model_dump())
    for run in reversed(seen.runs):
        same = run.state == "SUCCEEDED" and run.revision == data.revision and run.shape in ("", shape)
        if same and _same(run.makers, seen.makers):
            came = "data refused" if run.refused else {"promote": "promoted"}.get(run.verdict, run.verdict or "done")
            told = f"The run {run.run_id} took {data.revision} with the same code already ({came}): newer data are needed."
            return Constraint("news", True, {"run": run.run_id, "revision": data.revision}, told)
    if seen.champion and seen.champion.revision == data.revision and _same(seen.champion.makers, seen.makers):
        told = f"The champion learned from {data.revision} already: newer data are needed."
        return Constraint("news", True, {"champion": seen.champion.version, "revision": data.revision}, told)
    return Constraint("news", False, {"revision": data.revision}, f"No run took {data.revision} with this code.")


def _same(made: dict[str, str], now: dict[str, str]) -> bool:
    return all(made[name] == now[name] for name in made.keys() & now.keys())


def _debounce(minutes: float, seen: Observation, due: list[Fired]) -> Constraint:
    """Each trigger must fire for so long without a break; `decision` asks again with those that did."""
    young = [each for each in due if not settled(each, minutes, seen.now)]
    left = max((minutes - _age_of(each, seen.now) / timedelta(minutes=1) for each in young), default=0.0)
    figures = {"minutes": minutes, "left": round(left, 1)}
    told = f"{', '.join(each.name for each in young)} must last {left:.0f} more minutes." if young else "What is due lasts long enough."
    return Constraint("debounce", bool(young), figures, told)


def settled(trigger: Fired, minutes: float, now: datetime) -> bool:
    """Whether a trigger that fired did so for long enough."""
    return trigger.kind in AT_ONCE or _age_of(trigger, now) >= timedelta(minutes=minutes)


def _age_of(trigger: Fired, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(trigger.since) if trigger.since else timedelta(0)


def _cool_down(policy: CoolDown, seen: Observation) -> Constraint:
    """From the end of the last run that trained, or that a person stopped."""
    ended = [run for run in seen.runs if run in trained(seen.runs) or run.state == "STOPPED"]
    last = max(ended, key=_end, default=None)
    if last is None:
        return Constraint("cool-down", False, {}, "No run has trained yet.")
    hours = policy.after_rejection_hours if last.verdict == "reject" else policy.hours
    over = _end(last) + timedelta(hours=hours)
    figures = {"run": last.run_id, "hours": hours, "over": over.isoformat()}
    told = f"{last.run_id} ended {(seen.now - _end(last)) / HOUR:.1f} of {hours:g} hours ago."
    return Constraint("cool-down", seen.now < over, figures, told)


def _rejection(policy: RetrainingPolicy, seen: Observation, data: Data | None) -> Constraint:
    """What the gate rejected, for too little evidence or because it is worse, nearly the same data do not better."""
    run, name = observation.rejected(seen.runs, seen.champion), "rejection"
    if run is None or run.shape not in ("", shape_of(policy.run.model_dump())) or not _same(run.makers, seen.makers):
        return Constraint(name, False, {}, "The gate rejected nothing that a run would make again.")
    since = data.since_rejected if data else None
    if since is None or since.revision != run.revision:
        return Constraint(name, False, {"run": run.run_id}, f"The gate rejected what {run.run_id} made.")
    wanted = policy.cool_down.after_rejection_changed
    figures = {"run": run.run_id, "changed": round(since.changed, 4), "of": wanted, "new_categories": since.new_categories}
    told = f"Since the gate rejected what {run.run_id} made of {run.revision}, {since.changed:.1%} of the products changed"
    holds = since.changed < wanted and not since.new_categories
    return Constraint(name, holds, figures, f"{told} ({wanted:.1%} or a new category are needed).")


def _end(run: Run) -> datetime:
    return run.ended or run.started


def _retries(policy: RetrainingPolicy, seen: Observation, data: Data | None) -> Constraint:
    """How often this version of the data failed in a row, and whether it is time to try again."""
    failed = failures(seen.runs, data.revision if data else "")
    if not failed:
        return Constraint("retries", False, {"failures": 0}, "The last run did not fail.")
    figures: dict[str, Any] = {"failures": len(failed), "most": policy.retries.most, "run": failed[-1].run_id}
    if len(failed) > policy.retries.most:
        told = f"{len(failed)} runs failed in a row ({failed[-1].cause}): it waits for other data or a person."
        return Constraint("retries", True, figures, told)
    again = _end(failed[-1]) + timedelta(minutes=policy.retries.minutes(len(failed)))
    told = f"{failed[-1].run_id} failed ({failed[-1].cause}); try {len(failed)} of {policy.retries.most} at {again:%Y-%m-%d %H:%M} UTC."
    return Constraint("retries", seen.now < again, {**figures, "again": again.isoformat()}, told)


def failures(runs: tuple[Run, ...], revision: str) -> list[Run]:
    """The newest runs on a version of the data that failed in a row, oldest first."""
    found: list[Run] = []
    for run in reversed([each for each in runs if each.revision in ("", revision) and each.state in ("SUCCEEDED", "FAILED", "LOST")]):
        if run.state == "SUCCEEDED":
            break
        found.insert(0, run)
    return found


def quiet_hours(quiet: list[QuietHours], now: datetime) -> Constraint:
    within = next((each for each in quiet if _is_within(each, now)), None)
    if within is None:
        return Constraint("quiet-hours", False, {}, "It is no quiet hour.")
    told = f"No run starts between {within.start:%H:%M} and {within.end:%H:%M} ({within.timezone})."
    return Constraint("quiet-hours", True, {"from": f"{within.start:%H:%M}", "to": f"{within.end:%H:%M}"}, told)


def _is_within(quiet: QuietHours, now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(quiet.timezone))
    clock, today, yesterday = local.time(), DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if quiet.start < quiet.end:
        return today in quiet.days and quiet.start <= clock < quiet.end
    return (today in quiet.days and clock >= quiet.start) or (yesterday in quiet.days and clock < quiet.end)


def _budget(policy: RetrainingPolicy, seen: Observation) -> Constraint:
    """What the runs of the last 24 hours cost, with what the next one will: the most that one of the last few cost."""
    recent = [run for run in seen.runs if run.started > seen.now - DAY]
    figures: dict[str, Any] = {}
    over = []
    for name, most in policy.budget.model_dump().items():
        if most is None:
            continue
        spent = len(recent) if name == "runs" else sum(_costs(recent, name))
        expected = 1 if name == "runs" else max(list(_costs(trained(seen.runs), name))[-RECENT:], default=0.0)
        figures[name] = {"spent": round(spent, 4), "expected": round(expected, 4), "of": most}
        if spent + expected > most:
            over.append(f"{spent:.4g} {name.replace('_', ' ')} of {most:g} are spent and the next run takes {expected:.4g}")
    told = f"In 24 hours {'; '.join(over)}." if over else "The budget of 24 hours has room."
    return Constraint("budget", bool(over), figures, told)


def _costs(runs: list[Run], name: str) -> Iterator[float]:
    return (cost for run in runs if (cost := getattr(run, name)) is not None)
