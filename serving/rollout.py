"""A rollout: one version comes in beside the one that serves, a share of the requests at a time, and each step has its evidence.

    shadow -> canary 5 % -> 25 % -> 50 % -> ready -> promoting -> promoted
                 any of them -> rolled_back (a test said so) or aborted (a person did)

`shadow`: callers are answered by the version that serves; copies of some requests go to the new one, and the answers are compared.
`canary`: a share of the callers is answered by the new one. A stage is over after `hold` requests of the new version and
`hold_seconds`, unless a test shows that it is worse. `ready` is reached when the last stage is over and all that was counted since
the start shows that the new version is not worse by more than the plan allows.

`<home>/serving/rollout.json` has all of it: counts and sums, no request and no answer. The gateway writes counts, stages and
rollbacks, the command line what a person decides; both under one lock, and each takes over what the other decided.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from goodsight.errors import BusyError, InputError
from goodsight.files import exclusive, read_json, write_json
from serving.sequential import Evidence, at_least, not_more

Phase = Literal["shadow", "canary", "ready", "promoting", "promoted", "rolled_back", "aborted"]
RUNNING = ("shadow", "canary", "ready", "promoting")
BY_PERSONS = ("promoting", "promoted", "aborted")
TESTS = 3  # errors, latency, agreement
LOCK_SECONDS = 10


class Plan(BaseModel):
    """How a version comes in, and what ends that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shadow: float = Field(default=0.1, ge=0, le=1)  # share of requests that are copied to the new version; 0: no shadow stage
    weights: tuple[float, ...] = Field(default=(5.0, 25.0, 50.0), min_length=1, max_length=20)  # percent of the callers, a stage each
    hold: int = Field(default=200, ge=1)  # requests of the new version before a stage is over
    hold_seconds: float = Field(default=60, ge=0)
    alpha: float = Field(default=0.05, gt=0, lt=1)  # chance that a version is rolled back which is no worse than allowed
    errors: float = Field(default=0.01, gt=0, lt=1)  # the error budget: how much more of its requests may fail
    slow: float = Field(default=0.05, gt=0, lt=1)  # how much more of its requests may be slow
    slower: float = Field(default=1.5, ge=1)  # slow is what takes so many times the 95th percentile of the old version
    agreement: float = Field(default=0.5, gt=0, lt=1)  # how far its answers must agree with the old ones, on average

    @property
    def stages(self) -> int:
        return len(self.weights) + 1


def plan_of(**fields: Any) -> Plan:
    """A plan. Raises `InputError` for one that cannot be: weights that fall, a share that is none."""
    try:
        plan = Plan(**fields)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise InputError(f"{name} is {fault['input']!r}: {fault['msg']}.", "See goodsight rollout start --help") from error
    if any(not 0 < weight <= 100 for weight in plan.weights) or list(plan.weights) != sorted(set(plan.weights)):
        raise InputError(f"Weights are {plan.weights}.", "Give percents that rise, between 0 and 100: --weights 5,25,50")
    return plan


class Arm(BaseModel):
    """What was seen of one version."""

    requests: int = 0
    errors: int = 0  # it failed, refused what the other answers, or had no answer in its time
    timed: int = 0  # requests since it was known what is slow
    slow: int = 0

    def plus(self, other: Arm) -> Arm:
        return Arm(**{name: getattr(self, name) + getattr(other, name) for name in Arm.model_fields})


class Counts(BaseModel):
    """What was counted in one stage. `old` and `new` are tested; the rest says what became of the requests."""

    old: Arm = Arm()
    new: Arm = Arm()
    pairs: int = 0  # answers of both to the same request
    agreed: float = 0.0  # sum of how far they agree, each between 0 and 1
    to_old: int = 0  # callers' requests, as they were routed
    to_new: int = 0
    caught: int = 0  # went to the new version, were answered by the old one
    copies: int = 0
    dropped: int = 0  # copies that were not made, because there was no room

    @property
    def split(self) -> float | None:
        """The share of callers' requests that was routed to the new version."""
        routed = self.to_old + self.to_new
        return self.to_new / routed if routed else None


class Move(BaseModel):
    """From one phase to another, with what was known then."""

    time: str  # ISO 8601, UTC
    source: str
    target: str
    by: str
    why: str
    evidence: list[dict[str, Any]] = []


class Rollout(BaseModel):
    """The state of one rollout. `stage` counts from 0, the shadow stage; `stages` has the counts of each that was reached."""

    model_config = ConfigDict(extra="forbid")

    id: str
    version: str
    base: str  # the version that serves
    archive: str
    candidate: str
    index: str
    smoke_test: list[str]  # its probes by name
    plan: Plan
    by: str
    reason: str
    started: str
    stage_since: str
    phase: Phase = "shadow"
    stage: int = 0
    stages: dict[int, Counts] = {}
    limit_ms: float | None = None  # what is slow
    moves: list[Move] = []
    told: bool = False  # the ledger has its end

    @property
    def running(self) -> bool:
        return self.phase in RUNNING

    @property
    def weight(self) -> float:
        """The share of callers that the new version answers."""
        return self.plan.weights[self.stage - 1] / 100 if self.running and self.stage else 0.0

    @property
    def counts(self) -> Counts:
        """Those of this stage."""
        return self.stages.setdefault(self.stage, Counts())

    def evidence(self) -> list[Evidence]:
        """What this stage shows: where a test of it says `worse`, the version goes."""
        return _evidence([self.counts], self.plan, self.plan.alpha / (TESTS * self.plan.stages))

    def evidence_of_all(self) -> list[Evidence]:
        """What all stages together show: where each test of them says `shown`, the version may become champion."""
        return _evidence(list(self.stages.values()), self.plan, self.plan.alpha / TESTS)

    def move(self, target: Phase, by: str, why: str, now: str, evidence: list[Evidence] | None = None) -> Move:
        """Goes to a phase and tells it."""
        found = [dict(vars(each)) for each in evidence or []]
        moved = Move(time=now, source=self.name, target=target, by=by, why=why, evidence=found)
        self.phase, self.moves = target, [*self.moves, moved]
        return moved

    @property
    def name(self) -> str:
        """The phase, with its weight where it has one."""
        return f"canary {self.plan.weights[self.stage - 1]:g} %" if self.phase == "canary" else self.phase

    def next_stage(self, by: str, why: str, now: str, evidence: list[Evidence]) -> Move:
        moved = self.move("canary", by, why, now, evidence)
        self.stage, self.stage_since = self.stage + 1, now
        moved.target = self.name
        return moved


def begin(id: str, plan: Plan, by: str, reason: str, **facts: Any) -> Rollout:
    """A rollout at its start; `facts` are `version`, `base`, `archive`, `candidate`, `index` and `smoke_test`."""
    now = instant()
    rollout = Rollout(id=id, plan=plan, by=by, reason=reason, started=now, stage_since=now, **facts)
    if not plan.shadow:
        rollout.next_stage(by, "no shadow stage is wanted", now, [])
    return rollout


def instant() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _evidence(counts: list[Counts], plan: Plan, alpha: float) -> list[Evidence]:
    old = new = Arm()
    for each in counts:
        old, new = old.plus(each.old), new.plus(each.new)
    found = [
        not_more("errors", (new.errors, new.requests), (old.errors, old.requests), plan.errors, alpha),
        not_more("latency", (new.slow, new.timed), (old.slow, old.timed), plan.slow, alpha),
    ]
    if plan.shadow:
        pairs, agreed = sum(each.pairs for each in counts), sum(each.agreed for each in counts)
        found.append(at_least("agreement", agreed, pairs, plan.agreement, alpha))
    return found


def decide(rollout: Rollout, now: str) -> Move | None:
    """The move that the evidence asks for at the instant `now`, done; None while nothing is to be done.

    A person's decision is not overruled: nothing is decided from `promoting` on.
    """
    if rollout.phase not in ("shadow", "canary", "ready"):
        return None
    evidence = rollout.evidence()
    if worse := [each.name for each in evidence if each.finding == "worse"]:
        return rollout.move("rolled_back", "gateway", f"worse than version {rollout.base}: {', '.join(worse)}", now, evidence)
    if rollout.phase == "ready" or not _held(rollout, now):
        return None
    if rollout.stage < len(rollout.plan.weights):
        return rollout.next_stage("gateway", f"{rollout.counts.new.requests:,} requests, none of the tests objects", now, evidence)
    shown = rollout.evidence_of_all()
    if any(each.finding != "shown" for each in shown):
        return None
    return rollout.move("ready", "gateway", f"shown to be no worse than version {rollout.base}", now, shown)


def _held(rollout: Rollout, now: str) -> bool:
    held = (datetime.fromisoformat(now) - datetime.fromisoformat(rollout.stage_since)).total_seconds()
    return rollout.counts.new.requests >= rollout.plan.hold and held >= rollout.plan.hold_seconds


def path(home: Path) -> Path:
    return home / "serving" / "rollout.json"


def read(home: Path) -> Rollout | None:
    """The rollout of a home, the one that goes on or the last one; None when there was none. Raises `InputError` for what is none."""
    if not path(home).exists():
        return None
    try:
        return Rollout.model_validate(read_json(path(home)))
    except ValidationError as error:
        raise InputError(f"{path(home)} is no rollout: {error.errors()[0]['msg']}.", "Remove it: what serves now serves on.") from error


def write(home: Path, rollout: Rollout) -> None:
    write_json(path(home), rollout.model_dump(mode="json"))


def changing(home: Path) -> AbstractContextManager[None]:
    """The lock under which the state is read and written. Raises `BusyError` when it is held for long."""
    return exclusive(home / "serving" / "rollout.lock", "A change of the rollout", LOCK_SECONDS)


def keep(home: Path, mine: Rollout) -> Rollout | None:
    """Writes what the gateway has counted and decided, unless a person decided meanwhile or began another one; returns what holds."""
    with changing(home):
        there = read(home)
        if there is None or there.id != mine.id or not there.running:
            return there
        if there.phase in BY_PERSONS or there.moves[len(mine.moves) :]:
            mine.phase, mine.moves = there.phase, there.moves
        write(home, mine)
    return mine


def refuse_while_running(home: Path) -> None:
    """Raises `BusyError` while a rollout goes on: what is beside the served version must not be taken out."""
    now = read(home)
    if now and now.running:
        message = f"A rollout of version {now.version} goes on ({now.name})."
        raise BusyError(message, "See goodsight rollout status; end it with goodsight rollout promote, or abort --reason WHY.")
