"""The controller: it looks, decides, writes the decision into the ledger and starts the run that was decided, in this order.

A process that dies between the two leaves a decision whose run is not there: the next look starts it, under the same id. Two that
decide at once both expect the same newest decision in the ledger, so one of them is told that it was second and starts nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goodsight.errors import ConflictError, GoodsightError
from goodsight.files import write_json
from goodsight.settings import settings
from lineage.ledger import Ledger
from monitoring.constraints import Constraint
from monitoring.decision import Decision, decide
from monitoring.observation import Request
from monitoring.policy import RetrainingPolicy
from pipelines import decisions
from pipelines.announce import Announcer
from pipelines.leader import Leadership
from pipelines.observe import observe
from pipelines.platforms import Platform

ACTOR = "watch"
STATE = "watch.json"  # under <home>/monitoring: the last look, for people and probes
POLL_SECONDS = 10.0  # after a look: has a run ended, has a person asked?
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 900.0  # seconds after a look that failed, doubled each time


def instant() -> datetime:
    return datetime.now(UTC)


@dataclass
class Controller:
    """One controller of this home. `policy` is read again at each look, so that a reviewed change counts from the next one on."""

    policy: Path
    platform: Platform
    announcer: Announcer = field(default_factory=lambda: Announcer())
    clock: Callable[[], datetime] = instant

    def look(self, request: Request | None = None, leads: Callable[[], bool] = lambda: True) -> Decision:
        """Decides once, and starts what was decided. `leads` is asked before that.

        Raises `ConflictError` when another process decided meanwhile, and `GoodsightError` or `OSError` when the decision cannot be
        made, written or carried out.
        """
        with self.announcer.evaluating() as told:
            policy = RetrainingPolicy.load(self.policy)
            made = decide(policy, observe(policy, self.platform, self.clock(), request))
            if not leads():
                raise ConflictError("Another controller leads.", "It decides.")
            keep(made)
            told["decision"] = made.decision
        self.announcer.tell(made)
        if made.decision == "start" and made.run_id:
            self.platform.start(made.run_id, made.asked)
        return made

    def ask(self, request: Request) -> Decision:
        """A person's wish, left in the ledger for the controller that leads. Raises like `look`."""
        policy = RetrainingPolicy.load(self.policy)
        made = decide(policy, observe(policy, self.platform, self.clock(), request))
        left = Constraint(decisions.LEADER, True, {}, "It is left to the controller that leads.")
        held = replace(made, decision="hold", run_id=None, asked={}, constraints=[*made.constraints, left])
        keep(held)
        return held


def keep(made: Decision) -> None:
    """Writes a decision into the ledger, as the one after the newest that it saw. Raises `ConflictError` when there is a newer one."""
    seen, url = made.seen, settings().ledger_url
    subjects = [seen.champion.candidate] if seen.champion else []
    subjects += [each.digest for each in seen.data if each.revision == made.revision and each.digest not in subjects]
    actor = seen.request.by if seen.request else ACTOR
    Ledger(url).append(decisions.KIND, actor, subjects, decisions.payload(url, made), expect=seen.sequence)


@dataclass
class Loop:
    """Looks every so often, until `stop`: sooner when a run has ended or a person has asked, later after looks that fail."""

    controller: Controller
    leadership: Leadership
    say: Callable[[str], Any]
    stop: threading.Event = field(default_factory=threading.Event)
    poll_seconds: float = POLL_SECONDS
    first_pause: float = FIRST_PAUSE
    failures: int = 0

    def run(self) -> None:
        """Returns once `stop` is set. Whatever fails in a look is told and tried again."""
        led = False
        while not self.stop.is_set():
            leads = self.leadership.take()
            self.controller.announcer.leads(leads)
            if leads != led:
                self.say("This controller leads." if leads else f"Another controller leads: {self.leadership.holder()}.")
            led = leads
            self.stop.wait(self._look() if leads else self.poll_seconds)

    def _look(self) -> float:
        """One look and the time until something happens. Returns the seconds to pause before the next one."""
        try:
            made = self.controller.look(leads=lambda: self.leadership.take())
            every = RetrainingPolicy.load(self.controller.policy).every_minutes * 60
        except ConflictError as error:
            self.say(error.message)
            return 0.0
        except Exception as error:  # whatever it was, the controller lives on and tells
            return self._failed(error)
        self.failures = 0
        self.say(f"{made.decision}: {made.reason}")
        self._write({"decision": made.decision, "reason": made.reason, "run_id": made.run_id, "next_seconds": every})
        self._wait(every)
        return 0.0

    def _failed(self, error: BaseException) -> float:
        self.failures += 1
        pause: float = min(self.first_pause * 2 ** (self.failures - 1), LONGEST_PAUSE)
        why = error.message if isinstance(error, GoodsightError) else f"{type(error).__name__}: {error}"
        self.say(f"look {self.failures} failed: {why} The next one is in {pause:.0f} s.")
        self._write({"error": why, "failures": self.failures, "next_seconds": pause})
        self.controller.announcer.failed(why, self.failures)
        return pause

    def _wait(self, seconds: float) -> None:
        """Until the time is over, the lead is lost, a run ended, or a decision came that is not of this controller."""
        until, known = time.monotonic() + seconds, self._known()
        while time.monotonic() < until and not self.stop.wait(self.poll_seconds):
            self.controller.announcer.again()
            if not self.leadership.leads or self._known() != known:
                return

    def _known(self) -> tuple[Any, ...]:
        """What makes the next look come sooner when it changes."""
        try:
            newest = decisions.newest(settings().ledger_url)
            return newest.seq if newest else 0, tuple(each.run_id for each in self.controller.platform.going() if each.state == "RUNNING")
        except Exception:
            return ()  # the next look tells why

    def _write(self, told: dict[str, Any]) -> None:
        """What it did last, in a file; a full disk is no reason to stop."""
        with contextlib.suppress(OSError):
            write_json(settings().root / "monitoring" / STATE, {**told, "time": instant().isoformat(), "leader": self.leadership.me})


