"""Start a run, hold it back, or wait for a reason: a pure function of the policy and what is seen. It reads no clock and no file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from monitoring import constraints, triggers
from monitoring.constraints import Constraint, candidate, settled
from monitoring.observation import RUNS, Observation
from monitoring.policy import MANUAL, MAXIMUM_AGE, RetrainingPolicy, met
from monitoring.triggers import Fired

Kind = Literal["start", "hold", "wait"]
BACK = "resume"  # the trigger of a run that was decided and is not there


@dataclass(frozen=True)
class Decision:
    """What is decided and why; `to_json` is the payload of its event in the ledger."""

    decision: Kind
    run_id: str | None
    reason: str
    policy: str  # digest
    triggers: list[Fired]
    constraints: list[Constraint]
    revision: str | None
    asked: dict[str, Any]
    seen: Observation

    @property
    def due(self) -> list[str]:
        """The names of the triggers that fired."""
        return [each.name for each in self.triggers if each.fired]

    @property
    def held_by(self) -> list[str]:
        """The names of the constraints that hold the run back."""
        return [each.name for each in self.constraints if each.holds] if self.decision == "hold" else []

    def to_json(self) -> dict[str, Any]:
        return {
            "decision": self.decision,
            "run_id": self.run_id,
            "reason": self.reason,
            "policy": self.policy,
            "triggers": [each.to_json() for each in self.triggers],
            "constraints": [each.to_json() for each in self.constraints],
            "champion": self.seen.champion.version if self.seen.champion else None,
            "revision": self.revision,
            "asked": self.asked,
            "drift": self.seen.report,
            "by": "person" if MANUAL in self.due else "watch",
            "observed": {**self.seen.to_json(), "report": None},
        }


def decide(policy: RetrainingPolicy, seen: Observation) -> Decision:
    """The decision at `seen.now`. The same policy and observation give the same one.

    A run that was decided and is neither going on nor ended comes first: it is started again under its id, after a wait that grows.
    """
    if lost(policy, seen):
        return _again(policy, seen)
    judged = triggers.judge(policy, seen)
    due = _due(policy, judged, seen.now)
    if not due:
        return _decision("wait", "Nothing is due.", policy, seen, judged, [])
    held = constraints.judge(policy, seen, due)
    asks = " ".join(each.explanation for each in due)
    if why := [each.explanation for each in held if each.holds]:
        return _decision("hold", f"{asks} But: {' '.join(why)}", policy, seen, judged, held)
    return _decision("start", asks, policy, seen, judged, held)


def lost(policy: RetrainingPolicy, seen: Observation) -> bool:
    """Whether the last run that was decided is not there, or was lost, and may be tried again."""
    if seen.started is None or seen.started.attempts > policy.retries.most or RUNS in seen.unknown:
        return False
    states = [run.state for run in seen.runs if run.run_id == seen.started.run_id]
    return not states or states[-1] == "LOST"


def _due(policy: RetrainingPolicy, judged: list[Fired], now: datetime) -> list[Fired]:
    """The triggers that ask for a run. Those that lasted long enough do without the others, where that suffices."""
    fired = [each for each in judged if each.fired]
    lasting = [each for each in fired if settled(each, policy.debounce_minutes, now)]
    for some in (lasting, fired):
        names = met(policy.expression, {each.name for each in some})
        due = [each for each in some if each.name in names or each.name in (MANUAL, MAXIMUM_AGE)]
        if due:
            return due
    return []


def _decision(
    kind: Kind, reason: str, policy: RetrainingPolicy, seen: Observation, judged: list[Fired], held: list[Constraint]
) -> Decision:
    data = candidate(seen)
    start = kind == "start" and data is not None
    asked = {"revision": data.revision, **policy.run.model_dump()} if start and data else {}
    run_id = f"retrain-{seen.now:%Y%m%dT%H%M%S}-{seen.sequence}" if start else None
    return Decision(kind, run_id, reason, policy.digest, judged, held, data.revision if data else None, asked, seen)


def _again(policy: RetrainingPolicy, seen: Observation) -> Decision:
    """The lost run under the same id: at once the first time, then after a wait that grows; as a run of its kind, at no quiet hour."""
    started = seen.started
    assert started is not None
    minutes = policy.retries.minutes(started.attempts - 1) if started.attempts > 1 else 0.0
    again = started.time + timedelta(minutes=minutes)
    figures = {"attempts": started.attempts, "most": policy.retries.most, "again": again.isoformat()}
    told = f"The run {started.run_id} was decided at {started.time:%Y-%m-%d %H:%M} UTC and has no end: start {started.attempts + 1} of it."
    held = [
        Constraint("retries", seen.now < again, figures, f"It is tried again at {again:%Y-%m-%d %H:%M} UTC."),
        constraints.sight(seen),
        constraints.running(seen),
        constraints.rollout(seen),
    ]
    if MANUAL not in started.triggers:
        held.append(constraints.quiet_hours(policy.quiet_hours, seen.now))
    fired = [Fired(BACK, "resume", True, started.time.isoformat(), {"run": started.run_id}, told)]
    if seen.request:
        fired += [each for each in triggers.judge(policy, seen) if each.name == MANUAL]
    revision = started.asked.get("revision")
    if why := [each.explanation for each in held if each.holds]:
        return Decision("hold", None, f"{told} But: {' '.join(why)}", policy.digest, fired, held, revision, {}, seen)
    return Decision("start", started.run_id, told, policy.digest, fired, held, revision, started.asked, seen)
