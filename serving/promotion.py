"""A version takes over, or the one before it comes back: the server, the ledger and the champion move together.

The server is switched first, the ledger decides, MLflow follows. When the switch fails the champion does not move; when another
version became champion meanwhile the server is switched back. In the ledger, a `deploy` or `rollback` tells of the switch and the
`alias_move` after it makes it good; one without has been taken back, or its process died there and it is to be done again.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from goodsight.errors import InputError
from lineage import champion, record, registry
from lineage.registry import Parts
from serving import deploy
from serving.deploy import Deployment, Probe
from serving.rollout import Rollout


def take_over(version: str, parts: Parts, seen: str | None, by: str, reason: str, home: Path) -> Deployment:
    """Serves the registered `version` after its smoke test and makes it champion in the place of `seen` (None: there was none).

    What it is served with is kept in the registry, so that it can be promoted again. Raises `ConflictError` when another version
    is champion, before the smoke test or after it, and like `serving.deploy.deploy`; what served before serves on.
    """
    champion.check(version, seen)
    registry.keep_parts(version, parts)
    probes = [Probe(**each) for each in parts.probes]

    def confirm(deployment: Deployment) -> None:
        champion.check(version, seen)
        record.deploy(asdict(deployment), [probe.name for probe in probes], by, reason)
        champion.move(version, seen, by, reason)

    deployment = deploy.deploy(parts.candidate, parts.index, version, probes, home, parts.features, confirm)
    champion.current()
    return deployment


def promote(version: str, by: str, reason: str, home: Path) -> Deployment:
    """Makes a registered version that came to deployment once champion, with its own index, after the same smoke test.

    Raises `InputError` without a reason, for an unknown version and one that has no index, and like `take_over`.
    """
    needs_reason(reason)
    now = champion.current()
    return take_over(version, registry.parts_of(version), now.version if now else None, by, reason, home)


def rollback(by: str, reason: str, home: Path) -> Deployment:
    """Serves the previous champion and its index again and makes it champion.

    Raises `InputError` without a reason or a previous champion, `ConflictError` when the champion changes meanwhile, and like
    `serving.deploy.rollback`; what served before serves on.
    """
    needs_reason(reason)
    now = champion.current()
    if now is None or now.previous is None:
        raise InputError("There is no previous champion.", "See `goodsight models list`.")
    version, seen = now.previous, now.version

    def confirm(deployment: Deployment) -> None:
        champion.check(version, seen)
        record.rollback(asdict(deployment), by, reason)
        champion.move(version, seen, by, reason)

    deployment = deploy.rollback(version, home, confirm)
    champion.current()
    return deployment


def finish_rollout(coming: Rollout, by: str, reason: str, home: Path) -> Deployment:
    """Serves the version of a rollout, in the worker that has it, and makes it champion in the place of the one it was tried beside.

    Raises `ConflictError` when another one became champion meanwhile, and like `serving.deploy.rollback`; what served serves on.
    """

    def confirm(deployment: Deployment) -> None:
        champion.check(coming.version, coming.base)
        record.deploy(asdict(deployment), coming.smoke_test, by, reason)
        champion.move(coming.version, coming.base, by, reason)

    deployment = deploy.let_serve(coming.version, home, confirm)
    champion.current()
    return deployment


def needs_reason(reason: str) -> None:
    if not reason.strip():
        raise InputError("Who is champion changes only for a reason.", 'Give --reason "search for chairs got worse".')
