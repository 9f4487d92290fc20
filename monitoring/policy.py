"""The retraining policy: what makes a new model due, and what holds it back, as a reviewed YAML file (`retraining.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from goodsight.reviewed import Reviewed, Strict
from monitoring.drift_policy import DriftPolicy
from monitoring.observation import EPOCH

POLICY = Path(__file__).with_name("retraining.yaml")
MANUAL, MAXIMUM_AGE = "manual", "maximum-age"  # triggers that need no entry in the file
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Group = Literal["input", "embedding", "prediction", "feedback"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is no time zone") from error
    return name


def _cron(text: str) -> str:
    try:
        CronSim(text, EPOCH)
    except CronSimError as error:
        raise ValueError(f"{text!r} is no schedule of cron: {error}") from error
    return text


def _clock(told: object) -> object:
    """YAML reads 22:00 without quotes as a number of minutes, which would be taken for seconds."""
    if not isinstance(told, time) and not (isinstance(told, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", told)):
        raise ValueError(f'{told!r} is no time of day: write it in quotes and without a zone, as "22:00"')
    return told


Zone = Annotated[str, AfterValidator(_zone)]
Clock = Annotated[time, BeforeValidator(_clock)]


class Schedule(Strict):
    """A calendar. What it says stays due for `within_hours`; a start meanwhile answers it."""

    kind: Literal["schedule"]
    cron: Annotated[str, AfterValidator(_cron)]
    timezone: Zone = "UTC"
    within_hours: float = Field(default=24, gt=0)


class NewData(Strict):
    """Newer data than the champion's: the share of its products that are new, changed or gone, or so many new categories."""

    kind: Literal["snapshot"]
    changed: float = Field(default=0.05, ge=0, le=1)
    new_categories: int | None = Field(default=None, ge=1)


class Drift(Strict):
    """The same drift of one of these groups in so many windows in a row as `drift` of the policy wants."""

    kind: Literal["drift"]
    groups: list[Group] = Field(min_length=1)


class Decay(Strict):
    """A rate that arriving labels show to be lower than in the champion's first days, by more than `drop`."""

    kind: Literal["decay"]
    rates: list[str] = Field(min_length=1)
    drop: float = Field(ge=0, lt=1)
    min_labels: int = Field(ge=2)
    confidence: float = Field(default=0.99, ge=0.8, lt=1)


class Makers(Strict):
    """Other code of the steps, or other weights of the pretrained towers, than the champion was made with."""

    kind: Literal["makers"]
    of: list[Literal["code", "towers"]] = Field(min_length=1)


Trigger = Annotated[Schedule | NewData | Drift | Decay | Makers, Field(discriminator="kind")]


class AllOf(Strict):
    all: list[str | AllOf | AnyOf] = Field(min_length=1)


class AnyOf(Strict):
    any: list[str | AllOf | AnyOf] = Field(min_length=1)


class RateDays(Strict):
    """Which answers the rates are of: the last `days`, beside the first `reference_days` of the champion."""

    days: float = Field(default=14, gt=0)
    reference_days: float = Field(default=5, gt=0)


class Asked(Strict):
    """The run that is started: as the options of `goodsight run`."""

    architecture: Literal["commercemm", "eclip", "scale", "interbert"] = "commercemm"
    size: str = "small"
    seed: int = Field(default=17, ge=0)
    release: Literal["switch", "rollout"] = "switch"


class CoolDown(Strict):
    """Hours from the end of a run that trained to the next start; after a rejection also what the data must have changed since."""

    hours: float = Field(default=24, ge=0)
    after_rejection_hours: float = Field(default=72, ge=0)
    after_rejection_changed: float = Field(default=0.05, ge=0, le=1)


class Retries(Strict):
    """How often a run that failed or was lost is tried again, and the minutes before: `first_minutes`, then `factor` times as many."""

    most: int = Field(default=5, ge=0)
    first_minutes: float = Field(default=5, ge=0)
    factor: float = Field(default=3, ge=1)

    def minutes(self, failures: int) -> float:
        """The wait after so many failures in a row, one or more."""
        return float(self.first_minutes * self.factor ** (failures - 1))


class Budget(Strict):
    """The most that the runs of 24 hours may cost, the next one included. None: no bound."""

    runs: int | None = Field(default=None, ge=0)
    cpu_hours: float | None = Field(default=None, ge=0)
    gpu_hours: float | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)


class QuietHours(Strict):
    """A part of the day at which no run starts; `to` before `from` is on the next day."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: Clock = Field(alias="from")
    end: Clock = Field(alias="to")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(default_factory=lambda: list(DAYS))  # type: ignore[arg-type]
    timezone: Zone = "UTC"


class RetrainingPolicy(Reviewed):
    """When a new model is trained; see `retraining.yaml`."""

    WHAT: ClassVar = "The retraining policy"
    FILE: ClassVar = POLICY

    catalogue: str = ""
    every_minutes: float = Field(default=15, gt=0)
    run: Asked = Asked()
    triggers: dict[str, Trigger]
    when: str | AllOf | AnyOf | None = None
    maximum_age_days: float | None = Field(default=None, gt=0)
    debounce_minutes: float = Field(default=0, ge=0)
    cool_down: CoolDown = CoolDown()
    retries: Retries = Retries()
    budget: Budget = Budget()
    quiet_hours: list[QuietHours] = []
    rates: RateDays = RateDays()
    drift: DriftPolicy = DriftPolicy()

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if taken := {MANUAL, MAXIMUM_AGE} & self.triggers.keys():
            raise ValueError(f"a trigger cannot be called {taken.pop()!r}: that one is there already")
        for name in names(self.expression):
            if name not in self.triggers:
                raise ValueError(f"`when` names {name!r}, which is none of the triggers")
        return self

    @property
    def expression(self) -> str | AllOf | AnyOf | None:
        """What must fire; without `when`, any of the triggers."""
        return self.when or (AnyOf(any=list(self.triggers)) if self.triggers else None)


def names(expression: str | AllOf | AnyOf | None) -> Iterator[str]:
    """The triggers that an expression names."""
    if isinstance(expression, str):
        yield expression
    elif expression:
        for part in _parts(expression):
            yield from names(part)


def met(expression: str | AllOf | AnyOf | None, fired: set[str]) -> list[str]:
    """The triggers of `fired` that make the expression true, in its order; none when it is not."""
    if expression is None:
        return []
    if isinstance(expression, str):
        return [expression] if expression in fired else []
    found = [met(part, fired) for part in _parts(expression)]
    if isinstance(expression, AllOf) and not all(found):
        return []
    return list(dict.fromkeys(name for part in found for name in part))


def _parts(expression: AllOf | AnyOf) -> list[str | AllOf | AnyOf]:
    return expression.all if isinstance(expression, AllOf) else expression.any
