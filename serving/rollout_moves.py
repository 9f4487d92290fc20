"""What a person does with a rollout: start it, let the version take over, or end it; and what follows an end.

The new version is loaded beside the one that serves, in the same model server, so it takes over without being loaded again. The
ledger has the start of each rollout and its end with all that led there.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from goodsight.errors import GoodsightError, InputError, RefusedError
from goodsight.progress import note
from lineage import champion, record, registry
from serving import deploy, rollout
from serving.deploy import Deployment, Probe
from serving.promotion import finish_rollout, needs_reason
from serving.rollout import Plan, Rollout


def start(version: str, plan: Plan, by: str, reason: str, home: Path) -> Rollout:
    """Loads a registered version beside the one that serves, tries it, and lets the gateway bring it in by `plan`.

    Raises `InputError` for an unknown version, the one that serves and one without an index, `ConflictError` when another one than
    what serves is champion, `BusyError` while a rollout goes on, `RefusedError` when the smoke test fails, and `GoodsightError`
    when no server is running.
    """
    needs_reason(reason)
    served = deploy.current(home)
    if served is None:
        raise InputError(f"Nothing is deployed in {home}.", "Train and deploy a model first: goodsight run")
    if served.version == version:
        raise InputError(f"Version {version} is what serves.", "See `goodsight models list` for others.")
    champion.check(version, served.version)
    tell_end(home)
    parts = registry.parts_of(version)
    probes = [Probe(**each) for each in parts.probes]
    names = [probe.name for probe in probes]

    def announce(coming: Deployment) -> None:
        facts = {name: getattr(coming, name) for name in ("version", "archive", "candidate", "index")}
        begun = rollout.begin(uuid.uuid4().hex, plan, by, reason, base=served.version, smoke_test=names, **facts)
        record.rollout("start", begun.model_dump(mode="json"), by)
        with rollout.changing(home):
            rollout.write(home, begun)

    deploy.bring_in(parts.candidate, parts.index, version, probes, home, parts.features, announce)
    return found(home)


def found(home: Path) -> Rollout:
    """The rollout that goes on, or the last one. Raises `InputError` when there was none."""
    now = rollout.read(home)
    if now is None:
        raise InputError(f"There was no rollout in {home}.", "Start one: goodsight rollout start VERSION --reason WHY")
    return now


def promote(by: str, reason: str, home: Path) -> Deployment:
    """Lets the version of a rollout that is ready serve, and makes it champion: model, index and alias together.

    Killed in between, it is done again. Raises `RefusedError` when the version is not ready, and like `promotion.finish_rollout`;
    then the rollout goes on as it was.
    """
    needs_reason(reason)
    coming = _decided(home, "promoting", by, reason, ("ready", "promoting"))
    try:
        deployment = finish_rollout(coming, by, reason, home)
    except BaseException as error:
        _decided(home, "ready", by, f"it was not promoted: {error}", ("promoting",))
        raise
    _decided(home, "promoted", by, reason, ("promoting",))
    tell_end(home)
    deploy.prune(home)
    return deployment


def abort(by: str, reason: str, home: Path) -> Rollout:
    """Ends a rollout: the gateway sends no more requests to the version, and it is taken out.

    Raises `RefusedError` when no rollout goes on, `GoodsightError` when the server does not take it out.
    """
    needs_reason(reason)
    served = deploy.current(home)
    if served and served.version == found(home).version:
        hint = "goodsight rollout promote finishes it; goodsight models rollback undoes it."
        raise RefusedError(f"Version {served.version} serves already.", hint)
    ended = _decided(home, "aborted", by, reason, rollout.RUNNING)
    clear_away(ended, home)
    tell_end(home)
    return ended


def _decided(home: Path, phase: rollout.Phase, by: str, why: str, allowed: tuple[str, ...]) -> Rollout:
    """The rollout once it went to `phase`. Raises `RefusedError` when it is in none of the phases `allowed`."""
    with rollout.changing(home):
        now = found(home)
        if now.phase not in allowed:
            state = f"The rollout of version {now.version} is {now.name}"
            raise RefusedError(f"{state}, not {' or '.join(allowed)}.", "See goodsight rollout status; promote --wait waits for ready.")
        now.move(phase, by, why, rollout.instant())
        rollout.write(home, now)
    return now


def clear_away(ended: Rollout, home: Path) -> None:
    """Takes the version of a rollout that came to nothing out of the server and the store. Raises `GoodsightError`, `BusyError`."""
    with deploy.deploying(home):
        deploy.take_out(ended.version, home)
        deploy.prune(home)


def tell_end(home: Path) -> None:
    """Tells the ledger how the last rollout ended, when that is not told yet; a ledger that does not take it is told later."""
    with rollout.changing(home):
        last = rollout.read(home)
        if last is None or last.running or last.told:
            return
        facts, end = last.model_dump(mode="json"), last.moves[-1]
        try:
            record.rollout(last.phase, facts, end.by, why=end.why, moves=facts["moves"], stages=facts["stages"], limit_ms=last.limit_ms)
        except GoodsightError as error:
            note(f"the ledger is not told of the end of the rollout yet: {error.message}")
            return
        last.told = True
        rollout.write(home, last)
