"""Who is champion: the ledger says so, and MLflow's aliases `champion` and `previous` follow it.

`move` alone makes a version champion. It appends one `alias_move` to the ledger on the condition that the champion is still the
one that the mover saw, so that of two at once one wins and the other is told who did. `current` alone sets the aliases, to what
the ledger says: a process that dies between the two leaves aliases that are late, never a champion that nobody recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from goodsight.errors import ConflictError
from goodsight.progress import note
from goodsight.settings import settings
from lineage import registry
from lineage.ledger import Event, Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "alias_move"


@dataclass(frozen=True)
class Reign:
    """One version as champion, from one move to the next. Times are ISO 8601 in UTC."""

    version: str
    candidate: str  # digest
    previous: str | None  # the champion before it
    since: str
    until: str | None  # None: it is champion now
    by: str
    reason: str
    seq: int  # of its event in the ledger


def reigns() -> list[Reign]:
    """Every champion there was, in order, from the ledger alone."""
    moves = _ledger().events(KIND)
    ends = [move.time for move in moves[1:]]
    return [_reign(move, end) for move, end in zip(moves, [*ends, None], strict=False)]


def at(time: datetime) -> Reign | None:
    """Who was champion at an instant (with a time zone), from the ledger alone; None before the first."""
    begun = [reign for reign in reigns() if datetime.fromisoformat(reign.since) <= time]
    return begun[-1] if begun else None


def current() -> Reign | None:
    """The champion now, None before the first; MLflow's aliases are set right where they are not."""
    now = _newest()
    return _follow(registry.connect(), now) if now else None


def check(version: str, seen: str | None) -> Reign | None:
    """The champion now. Raises `ConflictError`, saying who it is, when it is neither `seen` (None: there was none) nor `version`."""
    now = _newest()
    if now and now.version not in (seen, version):
        who = f"Version {now.version} is champion since {now.since}, by {now.by} ({now.reason})"
    elif seen and not now:
        who = "There is no champion"
    else:
        return now
    before = f"version {seen}" if seen else "none"
    raise ConflictError(f"{who}, not {before} as when version {version} was to take over.", "Compare with it: start again.")


def move(version: str, seen: str | None, by: str, reason: str) -> None:
    """Makes `version` champion in the place of `seen`, None when there was none; MLflow follows with the next `current`.

    Does nothing when `version` is champion already. Raises `ConflictError` when another one became champion meanwhile, and
    `InputError` when there is no such version.
    """
    candidate = registry.found(registry.connect(), version).tags["candidate"]
    now = check(version, seen)
    if now and now.version == version:
        return
    payload = {"alias": "champion", "model": registry.MODEL, "version": version, "previous": seen, "reason": reason}
    try:
        _ledger().append(KIND, by, [candidate, *([now.candidate] if now else [])], payload, expect=now.seq if now else 0)
    except ConflictError:
        check(version, seen)
        raise


def _follow(client: MlflowClient, now: Reign) -> Reign:
    """Sets the aliases and looks again, so that what moved meanwhile is not undone by a late writer."""
    from mlflow.exceptions import MlflowException

    try:
        _set_aliases(client, now)
    except MlflowException as error:
        note(f"MLflow's aliases are late, the next command sets them right: {error.message}")
        return now
    newest = reigns()[-1]
    return now if newest == now else _follow(client, newest)


def _set_aliases(client: MlflowClient, now: Reign) -> None:
    held = registry.aliases(client)
    for alias, version in (("champion", now.version), ("previous", now.previous)):
        if version and held.get(alias) != version:
            client.set_registered_model_alias(registry.MODEL, alias, version)


def _newest() -> Reign | None:
    return next(reversed(reigns()), None)


def _ledger() -> Ledger:
    return Ledger(settings().ledger_url)


def _reign(move: Event, until: str | None) -> Reign:
    told: dict[str, Any] = move.payload
    return Reign(told["version"], move.subjects[0], told["previous"], move.time, until, move.actor, told.get("reason", ""), move.seq)
