"""What a retraining policy would have done: the observations that the ledger kept with its decisions, decided again.

A run that never ran has no outcome, so it is taken for one that lasts and costs as the recorded ones do on average (median), and that
ends as the recorded run on the same data did, else promoted. From a promotion of the replay on its model is champion: what newer data
change is counted beside its own data; drift and labels were never measured on it, and count only where history promoted the same data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from goodsight.errors import GoodsightError, InputError
from goodsight.settings import settings
from goodsight.times import end_of
from lineage.event import Event
from monitoring.decision import Decision, decide
from monitoring.observation import Champion, Data, Observation, Run, shape_of
from monitoring.policy import RetrainingPolicy
from monitoring.triggers import trained
from pipelines import decisions
from pipelines.observe import change

HOUR = timedelta(hours=1)
COSTS = ("cpu_hours", "gpu_hours", "money")
DEFAULT_HOURS = 1.0  # of a run, where none is recorded


@dataclass
class Typical:
    """What a run is like, by those that are recorded."""

    hours: float
    costs: dict[str, Any]  # hours and money, None where nothing measured them
    outcomes: dict[str, Run]  # revision -> the last run that ended on it

    @staticmethod
    def of(runs: list[Run]) -> Typical:
        done = trained(tuple(runs))
        hours = [(run.ended - run.started) / HOUR for run in done if run.ended]
        costs = {name: [cost for run in done if (cost := getattr(run, name)) is not None] for name in COSTS}
        outcomes = {run.revision: run for run in runs if run.state == "SUCCEEDED"}
        middle = {name: median(each) if each else None for name, each in costs.items()}
        return Typical(median(hours) if hours else DEFAULT_HOURS, middle, outcomes)


@dataclass
class History:
    """History as the replay makes it: its own runs, its own champion."""

    typical: Typical
    before: list[Run]  # runs that were there when it begins
    runs: list[Run] = field(default_factory=list)
    champion: Champion | None = None
    since: dict[str, datetime] = field(default_factory=dict)

    def go_on(self, now: datetime) -> None:
        """Ends the run whose time is over."""
        for place, run in enumerate(self.runs):
            end = run.started + timedelta(hours=self.typical.hours)
            if run.state == "RUNNING" and end <= now:
                known = self.typical.outcomes.get(run.revision)
                verdict, data_verdict = (known.verdict, known.data_verdict) if known else ("promote", "passed")
                costs: dict[str, Any] = self.typical.costs
                ended = replace(run, state="SUCCEEDED", ended=end, verdict=verdict, data_verdict=data_verdict, **costs)
                self.runs[place] = ended
                if verdict == "promote" and not ended.refused:
                    self.champion = Champion(f"replay of {run.revision}", "", end, run.revision, run.makers)

    def seen(self, recorded: Observation) -> Observation:
        """What would have been seen at the time of a recorded look."""
        mine: dict[str, Any] = {"runs": (*self.before, *self.runs), "started": None, "since": self.since, "rollout": ""}
        if self.champion is None:
            return replace(recorded, **mine)
        same = recorded.champion is not None and recorded.champion.revision == self.champion.revision
        champion = replace(self.champion, version=recorded.champion.version) if same and recorded.champion else self.champion
        measured: dict[str, Any] = {} if same else {"drift": (), "rates": ()}
        return replace(recorded, **mine, champion=champion, data=_data(recorded, champion), **measured)

    def take(self, made: Decision) -> None:
        """What the decision changes."""
        self.since = {each.name: datetime.fromisoformat(each.since) for each in made.triggers if each.fired and each.since}
        if made.decision == "start" and made.run_id:
            revision, makers = str(made.revision), made.seen.makers
            self.runs.append(Run(made.run_id, "RUNNING", made.seen.now, None, revision, shape_of(made.asked), makers))


def _data(recorded: Observation, champion: Champion) -> tuple[Data, ...]:
    """The versions from the champion's on, with what they change beside it."""
    revisions = [each.revision for each in recorded.data]
    begin = revisions.index(champion.revision) if champion.revision in revisions else 0
    found = []
    for each in recorded.data[begin:]:
        if each.revision == champion.revision or each.refused:
            found.append(replace(each, changed=0.0, new_categories=0))
            continue
        try:
            changed, new = change(settings().root, champion.revision, each.revision)
        except GoodsightError:  # a version that is not kept here any more
            changed, new = each.changed, each.new_categories
        found.append(replace(each, changed=changed, new_categories=new))
    return tuple(found)


def replay(path: Path, since: str, until: str) -> dict[str, Any]:
    """What the policy in the file `path` would have done between two dates, beside what was done.

    Raises `InputError` for what is no date, and where no decision is recorded.
    """
    begin, end = _begin(since), end_of(until)
    if end is None or end <= begin:
        raise InputError(f"{since} to {until} is no stretch of time.", "Give two dates: --replay 2026-01-01 2026-03-31")
    events = [event for event in decisions.between(settings().ledger_url, begin, end) if event.payload.get("observed")]
    if not events:
        raise InputError(f"No decision is recorded between {since} and {until}.", "`goodsight watch` records them.")
    policy = RetrainingPolicy.load(path)
    seen = [decisions.observed(settings().ledger_url, event) for event in events]
    looks = [Observation.of(told) for told in seen if told]
    recorded = {run.run_id: run for seen in looks for run in seen.runs}
    first = looks[0]
    history = History(Typical.of(list(recorded.values())), [run for run in first.runs if run.state != "RUNNING"])
    made = [_decide(policy, history, seen) for seen in looks]
    starts = [_start(each, history) for each in made if each.decision == "start"]
    return {
        "policy": policy.digest,
        "from": begin.isoformat(),
        "to": end.isoformat(),
        "looks": len(looks),
        "replayed": {**_summary(made), **_costs(history.runs), "starts": starts},
        "recorded": _recorded(events, recorded),
    }


def _decide(policy: RetrainingPolicy, history: History, recorded: Observation) -> Decision:
    history.go_on(recorded.now)
    made = decide(policy, history.seen(recorded))
    history.take(made)
    return made


def _begin(text: str) -> datetime:
    end = end_of(text)
    if end is None:
        raise InputError(f"{text!r} is no date.", "Give two dates: --replay 2026-01-01 2026-03-31")
    return end - timedelta(days=1) + timedelta(microseconds=1) if len(text) == len("2026-01-31") else end


def _summary(made: list[Decision]) -> dict[str, Any]:
    held: dict[str, int] = {}
    for each in made:
        for name in each.held_by:
            held[name] = held.get(name, 0) + 1
    counts = {kind: sum(each.decision == kind for each in made) for kind in ("start", "hold", "wait")}
    return {"decisions": counts, "held_by": held, "hours_to_start": _median_hours([_waited(each.to_json()) for each in made])}


def _waited(payload: dict[str, Any]) -> float | None:
    """Hours from the first sign that a run was due to the decision that started it."""
    signs = [datetime.fromisoformat(each["since"]) for each in payload["triggers"] if each["fired"] and each["since"]]
    if payload["decision"] != "start" or not signs:
        return None
    return (datetime.fromisoformat(payload["observed"]["now"]) - min(signs)) / HOUR


def _median_hours(hours: list[float | None]) -> float | None:
    known = [each for each in hours if each is not None]
    return round(median(known), 2) if known else None


def _costs(runs: list[Run]) -> dict[str, Any]:
    known = {name: [cost for run in runs if (cost := getattr(run, name)) is not None] for name in COSTS}
    return {"runs": len(runs), **{name: round(sum(each), 4) if each else None for name, each in known.items()}}


def _start(made: Decision, history: History) -> dict[str, Any]:
    run = next(run for run in history.runs if run.run_id == made.run_id)
    waited = _waited(made.to_json())
    return {
        "time": made.seen.now.isoformat(),
        "revision": made.revision,
        "triggers": made.due,
        "reason": made.reason,
        "hours_to_start": None if waited is None else round(waited, 2),
        "outcome": run.data_verdict if run.refused else run.verdict or run.state.lower(),
        "outcome_known": made.revision in history.typical.outcomes,
    }


def _recorded(events: list[Event], runs: dict[str, Run]) -> dict[str, Any]:
    started = {event.payload["run_id"]: event for event in reversed(events) if event.payload["decision"] == "start"}
    counts = {kind: sum(event.payload["decision"] == kind for event in events) for kind in ("start", "hold", "wait")}
    hours = _median_hours([_waited(event.payload) for event in started.values()])
    return {"decisions": counts, "hours_to_start": hours, **_costs([runs[name] for name in started if name in runs]), "runs": len(started)}


def table(told: dict[str, Any]) -> None:
    """The replay as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console, rows = Console(highlight=False), Table(box=None)
    for column in ("", "as recorded", "this policy"):
        rows.add_column(column)
    recorded, replayed = told["recorded"], told["replayed"]
    for name in ("runs", *COSTS, "hours_to_start"):
        rows.add_row(name.replace("_", " "), *("-" if side[name] is None else f"{side[name]:g}" for side in (recorded, replayed)))
    console.print(f"{told['looks']} looks from {told['from'][:10]} to {told['to'][:10]}")
    console.print(rows)
    for each in replayed["starts"]:
        known = "" if each["outcome_known"] else ", assumed"
        console.print(f"{each['time'][:16]} {each['revision']}: {each['reason']} ({each['outcome']}{known})")
