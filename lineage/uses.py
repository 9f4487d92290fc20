"""The other way round: which models, indexes and answers depend on a snapshot, or know a product."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lineage import answered, history
from lineage.sources import Sources


def of_snapshots(digests: Collection[str], sources: Sources) -> dict[str, Any]:
    """What was made of any of these snapshots, raw or validated, or of one that was validated from them: the models that learned
    from it, the indexes that they serve with, and how many answers they gave.
    """
    snapshots = {digest for each in digests for digest in _with_validated(each, sources)}
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
        "snapshots": sorted(snapshots),
        "models": [_model(learned[version].payload) for version in sorted(learned, key=int)],
        "indexes": [{"version": version, "index": digest} for version, digest in indexes],
        "answers": [{name: each[name] for name in ("model_version", "candidate", "count", "first", "last")} for each in answers],
    }


def showing(product: str, sources: Sources) -> dict[str, Any]:
    """The answers that showed a product, and the gaps in which nobody knows what was shown."""
    return {"shown": answered.showing(sources.predictions, product), "gaps": answered.gaps(sources.predictions)}


def _with_validated(digest: str, sources: Sources) -> set[str]:
    told = history.about(sources.ledger, digest).of("validation")
    return {digest, *(event.payload["digest"] for event in told if event.payload["raw_digest"] == digest)}


def _model(registration: dict[str, Any]) -> dict[str, Any]:
    return {name: registration.get(name) for name in ("version", "candidate", "snapshot", "revision")}
