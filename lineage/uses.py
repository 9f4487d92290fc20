"""The other way round: which models, indexes and answers depend on a snapshot, or know a product."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lineage import answered, history
from lineage.sources import Sources


def of_snapshot(digest: str, sources: Sources) -> dict[str, Any]:
    """What was made of a snapshot, raw or validated, or of one that was validated from it."""
    of_it = _with_validated(digest, sources)
    return {"snapshots": sorted(of_it), **_made_of(of_it, sources)}


def of_product(product: str, raw: Collection[str], sources: Sources) -> dict[str, Any]:
    """What was made of the raw snapshots (digests) that have a product and kept it in validation, and the answers that showed it."""
    shown = answered.showing(sources.predictions, product)
    snapshots = {digest for each in raw for digest in _with_validated(each, sources)}
    return {**_made_of(snapshots, sources), "shown": shown, "gaps": answered.gaps(sources.predictions)}


def _with_validated(digest: str, sources: Sources) -> set[str]:
    told = history.about(sources.ledger, digest).of("validation")
    return {digest, *(event.payload["digest"] for event in told if event.payload["raw_digest"] == digest)}


def _made_of(snapshots: Collection[str], sources: Sources) -> dict[str, Any]:
    """The models that learned from any of `snapshots`, the indexes that they serve with, and how many answers they gave."""
    registered = [event for digest in sorted(snapshots) for event in history.about(sources.ledger, digest).of("registration")]
    learned = {event.payload["version"]: event for event in registered if event.payload["snapshot"] in snapshots}
    candidates = {event.payload["candidate"] for event in learned.values()}
    served = [
        (event.payload["version"], event.payload["index"])
        for candidate in sorted(candidates)
        for event in history.about(sources.ledger, candidate).of("deploy", "rollback")
        if event.payload["candidate"] == candidate
    ]
    answers = [each for each in answered.by_version(sources.predictions) if each["candidate"] in candidates]
    indexes = dict.fromkeys([*served, *((each["model_version"], each["index_digest"]) for each in answers)])
    return {
        "models": [_model(learned[version].payload) for version in sorted(learned, key=int)],
        "indexes": [{"version": version, "index": digest} for version, digest in indexes],
        "answers": [{name: each[name] for name in ("model_version", "candidate", "count", "first", "last")} for each in answers],
    }


def _model(registration: dict[str, Any]) -> dict[str, Any]:
    return {name: registration.get(name) for name in ("version", "candidate", "snapshot", "revision")}
