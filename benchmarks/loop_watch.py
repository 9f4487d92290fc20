"""The loop in the simulated year: what `goodsight watch` would see every few hours, what it decides, and what comes of its runs.

Decisions are those of `monitoring.decision.decide` with the policy of the release, drift that of `monitoring.drift.compare`. What is
observed is put together as `pipelines.observe` does it from ledger, log and feedback.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from loop_model import Known, Model
from loop_runs import Runs, refusals
from loop_traffic import LABEL_DAYS, Answered, Gallery, Traffic
from loop_world import World, time_of

from monitoring.decision import Decision, decide
from monitoring.drift import DriftReport, compare
from monitoring.observation import Champion, Change, Data, Observation, Rate, Run, Start, Window, rejected, shape_of
from monitoring.policy import RetrainingPolicy

HOURS = (3, 9, 15, 21)  # at which it looks
DELIVERED = 8  # hour of the day's snapshot
RUN_HOURS = 0.5
DETAIL = 6  # findings that an entry of the diary has
RUNS_SEEN = 50


@dataclass
class Serving:
    """The champion: since when, of which day's data, and its traffic by day."""

    version: int
    model: Model
    known: Known
    data_day: int
    since: datetime
    reference: pa.Table | None = None
    tables: dict[int, pa.Table] = field(default_factory=dict)
    labels: list[tuple[datetime, int, int]] = field(default_factory=list)  # of answers at that time: right, of


@dataclass
class Watch:
    """The controller's memory, and the diary of what happened."""

    world: World
    traffic: Traffic
    runs: Runs
    policy: RetrainingPolicy
    champion: Serving
    done: list[Run] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    started: Start | None = None
    since: dict[str, datetime] = field(default_factory=dict)
    diary: list[dict[str, Any]] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("training", "judging", "validation", "watching"), 0.0))
    sequence: int = 0

    def day(self, day: int, gallery: Gallery) -> Answered:
        """Answers a day's requests and looks at what came of them; a promoted model answers from the next day on."""
        serving = self.champion
        found = self.traffic.answered(serving.model, gallery, day, told=True)
        assert found.table is not None
        started = time.process_time()
        serving.tables[day] = found.table
        labelled = found.categories[self.traffic.requests(day).labelled]
        serving.labels.append((time_of(day + 0.5), int(labelled.sum()), len(labelled)))
        report = self._drift(day) if day else None
        self.cpu["watching"] += time.process_time() - started
        for hour in HOURS:
            self._look(day, hour, report if hour == HOURS[0] else None)
        return found

    def _drift(self, day: int) -> DriftReport | None:
        """The report on the day before, as `monitoring.windows.report` makes it of the log."""
        serving, rules = self.champion, self.policy.drift
        own = sorted(serving.tables)
        if day - 1 not in serving.tables or serving.reference is None:
            return None
        first = [serving.tables[each] for each in own if time_of(each + 1) <= serving.since + timedelta(days=rules.baseline_days + 1)]
        learned = time_of(day) >= serving.since + timedelta(days=rules.baseline_days + 1)
        baseline = pa.concat_tables(first) if learned and first else None
        found = compare(serving.reference, serving.tables[day - 1], rules, baseline)
        if baseline is None:
            return None
        self.windows = [*self.windows[-7:], Window.of({**found.to_json(), "version": str(serving.version)}, time_of(day))]
        return found

    def _confirmed(self) -> list[str]:
        """What drifted in as many of the champion's last windows as the policy wants: people are told of it."""
        wanted = self.policy.drift.consecutive
        last = [each for each in self.windows if each.version == str(self.champion.version)][-wanted:]
        found = [{f"{each['name']} ({each['slice']})" for each in window.findings} for window in last]
        return sorted(set.intersection(*found)) if len(found) == wanted else []

    def _look(self, day: int, hour: int, report: DriftReport | None) -> None:
        started = time.process_time()
        seen = self._observation(day, hour)
        decision = decide(self.policy, seen)
        self.since = {each.name: datetime.fromisoformat(each.since) for each in decision.triggers if each.fired and each.since}
        self.sequence += 1
        self.cpu["watching"] += time.process_time() - started
        confirmed = self._confirmed() if report else []  # of this champion: the run may bring another
        run = self._run(day, hour, decision) if decision.decision == "start" else None
        drifted = [f"{each.name} ({each.slice}) {each.effect:.2f}" for each in report.drifted][:DETAIL] if report else []
        fired = [each.name for each in decision.triggers if each.fired]
        if run or drifted or decision.decision == "hold":
            entry = {"day": day, "hour": hour, "decision": decision.decision, "fired": fired, "reason": decision.reason}
            entry["confirmed"] = confirmed
            self.diary.append({**entry, "held_by": decision.held_by, "drifted": drifted, "run": run})

    def _observation(self, day: int, hour: int) -> Observation:
        now, serving = time_of(day + hour / 24), self.champion
        return Observation(
            now=now,
            sequence=self.sequence,
            first=time_of(HOURS[0] / 24),
            champion=Champion(str(serving.version), serving.model.digest, serving.since, revision(serving.data_day)),
            data=self._data(day if hour >= DELIVERED else day - 1),
            drift=tuple(each for each in self.windows if each.version == str(serving.version)),
            rates=self._rates(now),
            runs=tuple(self.done[-RUNS_SEEN:]),
            started=self.started,
            since=self.since,
        )

    def _data(self, day: int) -> tuple[Data, ...]:
        """The champion's version, and the newest beside it; before a bad file the one that came before it."""
        own = self.champion.data_day
        found = [Data(revision(own), str(own), time_of(own + DELIVERED / 24), 0.0)]
        days = [newest_change(self.world, day, refused_too) for refused_too in (False, True)]
        for newest in sorted({each for each in days if each > own}):
            bad = self.world.refused(newest)
            changed, categories = self.world.difference(own, newest, checked=not bad)
            told = Data(revision(newest), str(newest), time_of(newest + DELIVERED / 24), changed, categories)
            told = replace(told, since_rejected=self._since_rejected(newest, bad))
            found.append(replace(told, refused=self.refused.get(told.revision, "")))
        return tuple(found)

    def _since_rejected(self, newest: int, bad: bool) -> Change | None:
        """What a day's snapshot changes beside that of the newest rejected run."""
        serving = self.champion
        run = rejected(tuple(self.done), Champion(str(serving.version), serving.model.digest, serving.since, revision(serving.data_day)))
        before = day_of(run.revision) if run else newest
        return Change(revision(before), *self.world.difference(before, newest, checked=not bad)) if before < newest else None

    def _rates(self, now: datetime) -> tuple[Rate, ...]:
        """Right categories among those that people judged by now: of the last days, and of the champion's first."""
        rules, serving = self.policy.rates, self.champion
        learned = serving.since + timedelta(days=rules.reference_days)
        begin = max(learned, now - timedelta(days=rules.days))
        known = [each for each in serving.labels if each[0] + timedelta(days=LABEL_DAYS) <= now]
        last, first = [each for each in known if each[0] >= begin], [each for each in known if each[0] < learned]
        if begin >= now:
            return ()
        sums = [sum(each[place] for each in part) for part in (last, first) for place in (1, 2)]
        return (Rate("category_accuracy", *sums),)

    def _run(self, day: int, hour: int, decision: Decision) -> dict[str, Any]:
        """The run that was decided, to its end."""
        at = time_of(day + hour / 24)
        data_day = day_of(str(decision.revision))
        started = Start(str(decision.run_id), at, decision.asked, triggers=tuple(decision.due))
        ended = at + timedelta(hours=RUN_HOURS)
        shape = shape_of(decision.asked)
        run = Run(str(decision.run_id), "SUCCEEDED", at, ended, str(decision.revision), shape)
        self.started = started
        data = self.runs.data_verdict(data_day)
        self.cpu["validation"] += data["seconds"]
        if data["decision"] != "passed":
            self.refused[run.revision] = data["reason"]
            self.done.append(replace(run, data_verdict=data["decision"], cpu_hours=data["seconds"] / 3600))
            return {"version": None, "data": data["decision"], "verdict": "", "why": [data["reason"]], "data_day": data_day}
        known = self.world.known(data_day)
        candidate = self.runs.candidate(known)
        verdict, judging = self.runs.verdict(known, candidate, self.champion.model)
        self.cpu["training"] += candidate.cpu_seconds
        self.cpu["judging"] += judging
        hours = (candidate.cpu_seconds + judging) / 3600
        self.done.append(replace(run, data_verdict="passed", verdict=verdict["decision"], cpu_hours=hours))
        promoted = verdict["decision"] == "promote"
        if promoted:
            self.champion = Serving(self.champion.version + 1, candidate, known, data_day, ended)
            gallery = Gallery.of(self.world.features, candidate, known, str(self.champion.version))
            self.champion.reference = self.traffic.reference(candidate, gallery, known)
        version = self.champion.version if promoted else None
        return {"version": version, "data": "passed", "verdict": verdict["decision"], "why": refusals(verdict), "data_day": data_day}


def revision(day: int) -> str:
    """What the snapshot of a day is called."""
    return f"day-{day:03}"


def day_of(revision: str) -> int:
    return int(revision.removeprefix("day-"))


def newest_change(world: World, day: int, refused_too: bool) -> int:
    """The newest day up to `day` on which a snapshot came; `refused_too` also that of a bad file."""
    while day > 0 and not refused_too and world.refused(day):
        day -= 1
    while day > 0 and world.refused(day) == world.refused(day - 1) and world.digest(day, False) == world.digest(day - 1, False):
        day -= 1
    return day
