"""What stands behind a snapshot: its validation, the raw snapshot, the revision that keeps it, and what was erased since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goodsight.errors import GoodsightError
from goodsight.files import read_json
from lineage import history
from lineage.event import Event
from lineage.graph import Node, Passport, State
from lineage.history import History
from lineage.sources import DataVersion, Sources


def hashed(events: Sequence[Event]) -> str:
    """How events of the ledger were checked."""
    numbers = ", ".join(str(event.seq) for event in events)
    return f"event{'s' if len(events) > 1 else ''} {numbers} of the ledger, {'hashes match' if len(events) > 1 else 'hash matches'}"


def snapshot(made: Passport, sources: Sources, digest: str, source: str = "", label: str = "") -> str:
    """Adds the snapshot of `digest` and what stands behind it; returns its node."""
    told = history.about(sources.ledger, digest)
    versions = [version for version in sources.versions(digest) if version.digest == digest]
    validations = [event for event in told.of("validation") if event.payload.get("digest") == digest]
    if versions:
        here = _raw(made, sources, versions, told, source, label)
    elif validations:
        counts = {name: value for name, value in validations[-1].payload.items() if name not in ("digest", "raw_digest")}
        here = made.add(Node("snapshot", digest, "verified", hashed(validations[-1:]), counts), source, label)
    else:
        here = _unknown(made, sources, digest, told, source, label)
    for event in validations[-1:]:
        _validation(made, sources, event, here, digest)
    _erasures(made, told, here)
    return here


def _raw(made: Passport, sources: Sources, versions: Sequence[DataVersion], told: History, source: str, label: str) -> str:
    """A snapshot that the data repository keeps, once or under several names."""
    first = versions[0]
    whole = all(version.whole for version in versions)
    imports = told.of("snapshot")
    how = "the digest of its manifest matches its tag" if whole else f"the manifest of {first.revision} is not the one that was stored"
    facts = {name: first.manifest.get(name) for name in ("counts", "licences", "source", "parent", "created", "split_rule")}
    facts |= {"by": imports[0].actor, "imported": imports[0].time, "event": imports[0].seq} if imports else {}
    state: State = "altered" if not whole or told.altered else "verified"
    here = made.add(Node("snapshot", first.digest, state, how, facts), source, label)
    for version in versions:
        made.add(_revision(version, sources, made.deep), here, "kept as")
    if not imports:
        made.add(Node("import", first.revision, "missing", "no `snapshot` event of the ledger tells who imported it"), here, "imported by")
    return here


def _revision(version: DataVersion, sources: Sources, deep: bool) -> Node:
    facts = {"git commit": version.commit, "dvc": version.pointer, "files": version.manifest.get("files")}
    if not deep:
        return Node("revision", version.revision, "recorded", "a tag of the data repository; bytes not read (--deep)", facts)
    try:
        sources.check_version(version.revision)
    except GoodsightError as error:
        return Node("revision", version.revision, "altered", error.message, facts)
    return Node("revision", version.revision, "verified", "every byte of its shards matches", facts)


def _unknown(made: Passport, sources: Sources, digest: str, told: History, source: str, label: str) -> str:
    """A snapshot of which neither repository nor ledger tells: the verdict that home keeps may."""
    kept = [verdict for verdict in _kept_verdicts(sources) if verdict.get("digest") == digest]
    if told.altered:
        how = f"event {told.altered[0]} of the ledger is not what its hash says"
        return made.add(Node("snapshot", digest, "altered", how), source, label)
    if not kept:
        how = "no `snapshot` or `validation` event tells of it, and the data repository has no such version"
        return made.add(Node("snapshot", digest, "missing", how), source, label)
    facts = {name: kept[0].get(name) for name in ("kept", "quarantined", "by_reason")}
    here = made.add(Node("snapshot", digest, "recorded", "the verdict on it that home keeps", facts), source, label)
    if kept[0]["raw_digest"] != digest:
        snapshot(made, sources, kept[0]["raw_digest"], here, "validated from")
    return here


def _kept_verdicts(sources: Sources) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(sources.home.glob("validations/*/verdict.json"))]


def _validation(made: Passport, sources: Sources, event: Event, here: str, digest: str) -> None:
    raw = event.payload["raw_digest"]
    node = Node("validation", raw, "verified", hashed([event]), {"time": event.time, "by": event.actor, **event.payload})
    judged = made.add(node, here, "passed")
    if raw != digest:
        snapshot(made, sources, raw, judged, "judged")


def _erasures(made: Passport, told: History, here: str) -> None:
    """What was taken out of its catalogue for good since: this snapshot may hold what no later one does."""
    erasures = told.of("erasure")
    if erasures:
        facts = {"since": [{"time": event.time, "by": event.actor, "reason": event.payload.get("reason")} for event in erasures]}
        made.add(Node("erasure", here.partition(":")[2], "verified", hashed(erasures), facts), here, "erased since")
