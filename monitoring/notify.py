"""Who is told: notices through apprise to the addresses of GOODSIGHT_NOTIFY (webhook, Slack, e-mail, ...).

The same key is told once in some hours, also after a restart. A target that fails is tried again later, each time after a longer
pause, and given up in the end; nothing here stops who calls it. Addresses hold secrets: neither files nor messages have them, a
target is named by its kind and a digest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from goodsight.digests import sha256_bytes
from goodsight.errors import BusyError, InputError
from goodsight.files import exclusive, read_json, write_json
from goodsight.settings import Settings

Severity = Literal["info", "success", "warning", "failure"]
Count = Callable[[str, int], None]  # a result of `monitoring.metrics.NOTICES`, and how many wait

HOUR = 3600.0
QUIET_HOURS = 12.0  # in which the same key is not told again
FIRST_PAUSE, LONGEST_PAUSE = 60.0, 6 * HOUR  # seconds between two tries of a target
GIVEN_UP = 48 * HOUR  # after the first try
MOST_WAITING = 200
LOCK_SECONDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """What is told: `key` says what it is about, so that the same is not told twice."""

    key: str
    title: str
    body: str
    severity: Severity = "info"


@dataclass
class _Waiting:
    """A notice that one target has not taken yet. Times are seconds since 1970."""

    notice: dict[str, Any]
    target: str
    first: float
    next: float
    tries: int = 1


@dataclass
class _State:
    told: dict[str, float] = field(default_factory=dict)  # key -> when
    waiting: list[_Waiting] = field(default_factory=list)


class Notifier:
    """Tells those that `settings.notify` names; nobody, where it is empty. Raises `InputError` for an address that is none."""

    def __init__(self, settings: Settings, count: Count | None = None, now: Callable[[], float] = time.time) -> None:
        self._file = settings.root / "monitoring" / "notices.json"
        self._targets = _targets(settings.notify.get_secret_value())
        self._count, self._now = count or (lambda result, waiting: None), now
        self._kept, self._on_disk = _State(), True  # in memory too, for a disk that takes nothing

    def tell(self, key: str, title: str, body: str, severity: Severity = "info", hours: float = QUIET_HOURS) -> bool:
        """Tells it, unless the same key was told less than `hours` ago. Returns whether it was taken up. Never raises."""
        return self._safely(lambda state: self._tell(state, Notice(key, title, body, severity), hours))

    def again(self) -> None:
        """Tries those once more that failed and whose pause is over. To be called now and then. Never raises."""
        self._safely(self._again)

    def _tell(self, state: _State, notice: Notice, hours: float) -> bool:
        now = self._now()
        if now - state.told.get(notice.key, -1e18) < hours * HOUR:
            self._count("repeated", len(state.waiting))
            return False
        state.told[notice.key] = now
        for target in self._targets:
            if self._sent(target, notice):
                self._count("sent", len(state.waiting))
            else:
                state.waiting.append(_Waiting(asdict(notice), target, now, now + FIRST_PAUSE))
                self._count("failed", len(state.waiting))
        return True

    def _again(self, state: _State) -> bool:
        now, due = self._now(), [each for each in state.waiting if each.next <= self._now()]
        for each in due:
            sent = self._sent(each.target, Notice(**each.notice))
            over = now - each.first > GIVEN_UP or each.target not in self._targets
            if sent or over:
                state.waiting.remove(each)
            each.tries, each.next = each.tries + 1, now + min(FIRST_PAUSE * 2**each.tries, LONGEST_PAUSE)
            self._count("sent" if sent else "dropped" if over else "failed", len(state.waiting))
        return bool(due)

    def _sent(self, target: str, notice: Notice) -> bool:
        """Whether the target took it; whatever a library of apprise's raises is a no."""
        try:
            return target in self._targets and bool(
                self._targets[target].notify(title=notice.title, body=notice.body or notice.title, notify_type=notice.severity)
            )
        except Exception as error:
            logger.warning("%s did not take a notice: %s", target, type(error).__name__)
            return False

    def _safely(self, do: Callable[[_State], bool]) -> bool:
        """`do` with the state, which is read before and written after under a lock; with what is in memory where the disk fails."""
        try:
            with exclusive(self._file.with_suffix(".lock"), "Telling people", LOCK_SECONDS):
                return self._written(do)
        except (OSError, BusyError) as error:
            logger.warning("what is told is not written down: %s", error)
            return do(self._kept)

    def _written(self, do: Callable[[_State], bool]) -> bool:
        if self._on_disk:
            self._kept = _read(self._file) or self._kept
        done = do(self._kept)
        self._kept = _trimmed(self._kept, self._now())
        if done:
            try:
                write_json(self._file, asdict(self._kept))
                self._on_disk = True
            except OSError as error:
                self._on_disk = False
                logger.warning("what was told is not written down: %s", error)
        return done


def _targets(addresses: str) -> dict[str, Any]:
    """Kind and digest -> a target of apprise's. Raises `InputError` naming the place of an address that is none, not the address."""
    if not addresses.strip():
        return {}
    from apprise import Apprise, AppriseAsset
    from apprise.utils.parse import parse_urls

    asset = AppriseAsset(app_id="Goodsight", app_desc="Goodsight", app_url="", secure_logging=True, async_mode=False)
    found = {}
    for place, address in enumerate(parse_urls(addresses) or [addresses], 1):
        target = Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
        if target is None:
            kind = address.partition("://")[0][:20] if "://" in address else "no URL"
            hint = "Write it as apprise does: slack://..., mailto://..., json://host/path."
            raise InputError(f"Address {place} of GOODSIGHT_NOTIFY ({kind}) is none that apprise knows.", hint)
        found[f"{address.partition('://')[0]} {sha256_bytes(address.encode())[:8]}"] = target
    return found


def _read(file: Path) -> _State | None:
    """What is written there; None where nothing is, or nothing that can be read."""
    try:
        kept = read_json(file)
        return _State(dict(kept["told"]), [_Waiting(**each) for each in kept["waiting"]])
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _trimmed(state: _State, now: float) -> _State:
    """Without keys that are long told, and without the oldest of too many that wait."""
    told = {key: when for key, when in state.told.items() if now - when < 30 * 24 * HOUR}
    return _State(told, state.waiting[-MOST_WAITING:])
