"""What a decision is made on: everything that is known at one instant, so that the same observation gives the same decision.

It travels as JSON with the decision in the ledger; another policy can be asked what it would have decided (`goodsight watch --replay`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHAMPION, DATA, RUNS, DRIFT, RATES = "champion", "data", "runs", "drift", "rates"  # keys of `Observation.unknown`
MAKERS, ROLLOUT = "makers", "rollout"
KEPT = ("name", "group", "slice", "test", "effect", "bound", "adjusted_p", "drifted", "current_n")  # of a finding


@dataclass(frozen=True)
class Champion:
    """What serves: version, digest of the candidate, since when, the version of the data it learned from."""

    version: str
    candidate: str
    since: datetime
    revision: str
    makers: dict[str, str] = field(default_factory=dict)  # `code`, `towers`: digests of what made it, where they are known


@dataclass(frozen=True)
class Change:
    """What a version of the catalogue changes beside `revision`."""

    revision: str
    changed: float  # share of the products of both that are new, changed or gone
    new_categories: int = 0


@dataclass(frozen=True)
class Data:
    """A version of the catalogue that is not older than the champion's, and what it changes beside that."""

    revision: str
    digest: str
    time: datetime  # when it came
    changed: float  # share of the products of both that are new, changed or gone
    new_categories: int = 0
    refused: str = ""  # why the validation said no; empty: it did not
    since_rejected: Change | None = None  # beside what the newest rejected run learned from (`rejected`), where it is newer than that


@dataclass(frozen=True)
class Window:
    """What drifted in one window of traffic, which ended at `until`: `findings` as in `DriftReport.to_json`, without figures of detail."""

    until: datetime
    version: str  # the champion that answered
    findings: tuple[dict[str, Any], ...]

    @staticmethod
    def of(report: dict[str, Any], until: datetime) -> Window:
        """The window of a report as `DriftReport.to_json` tells it; of what was not compared nothing drifts."""
        kept = [{name: each[name] for name in KEPT if name in each} for each in report["findings"] if each["drifted"]]
        return Window(until, report.get("version", ""), tuple(kept))


@dataclass(frozen=True)
class Rate:
    """Of `of` answers that are judged `right` were right, and of the champion's `reference_of` at first `reference_right`."""

    name: str
    right: int
    of: int
    reference_right: int
    reference_of: int


@dataclass(frozen=True)
class Run:
    """A run of the pipeline; times are None where they are not known, costs where nothing measured them."""

    run_id: str
    state: str  # RUNNING, SUCCEEDED, FAILED, STOPPED, LOST
    started: datetime
    ended: datetime | None
    revision: str
    shape: str = ""  # architecture, size and seed as `shape_of` gives them; empty: not known
    makers: dict[str, str] = field(default_factory=dict)
    verdict: str = ""  # of the gate
    data_verdict: str = ""
    cause: str = ""
    cpu_hours: float | None = None
    gpu_hours: float | None = None
    money: float | None = None

    @property
    def refused(self) -> bool:
        """Whether it stopped at the data."""
        return self.data_verdict not in ("", "passed")


@dataclass(frozen=True)
class Start:
    """The newest decision to start a run, and how often this run was started by now."""

    run_id: str
    time: datetime
    asked: dict[str, Any]
    attempts: int = 1
    triggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """A person wants a run."""

    by: str
    reason: str
    time: datetime


@dataclass(frozen=True)
class Observation:
    """Everything at `now`. All times have a zone.

    `data`, `drift` and `runs` are oldest first. `since` has the triggers that fired at the decision before, and since when without
    a break. `unknown` says why a part could not be seen: triggers that need it do not fire, and without champion, data, runs or
    rollout nothing starts.
    """

    now: datetime
    sequence: int = 0  # of the newest `trigger` event in the ledger
    report: dict[str, Any] | None = None  # the newest drift report whole, when it is of this look
    previous: datetime | None = None  # `now` of the decision before that a controller told people of
    first: datetime | None = None  # when the first decision was made; None: this is the first
    champion: Champion | None = None
    data: tuple[Data, ...] = ()
    drift: tuple[Window, ...] = ()
    rates: tuple[Rate, ...] = ()
    runs: tuple[Run, ...] = ()
    started: Start | None = None
    makers: dict[str, str] = field(default_factory=dict)  # of the code and the towers that are here now
    request: Request | None = None
    rollout: str = ""  # the version that comes in beside the champion
    since: dict[str, datetime] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; times in ISO 8601."""
        plain: dict[str, Any] = TypeAdapter(Observation).dump_python(self, mode="json")
        return plain

    @staticmethod
    def of(told: dict[str, Any]) -> Observation:
        """What `to_json` gave. Raises pydantic's `ValidationError` for anything else."""
        return TypeAdapter(Observation).validate_python(told)


def rejected(runs: tuple[Run, ...], champion: Champion | None) -> Run | None:
    """The newest run whose model the gate rejected for this champion."""
    mine = [run for run in runs if run.verdict == "reject" and (champion is None or run.started >= champion.since)]
    return mine[-1] if mine else None


def shape_of(asked: dict[str, Any]) -> str:
    """What makes two runs on the same data the same."""
    return ",".join(str(asked.get(name, "")) for name in ("architecture", "size", "seed"))
