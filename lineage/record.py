"""What goes into the ledger by itself: for each kind of event, the digests it is about and what it tells.

Every event is written once what it tells of is whole, and before the step that did it ends. A step that was killed right then
does it again, and tells it again: an event may be there twice, saying the same, but none is missing. A step that is answered
from the cache did nothing and tells nothing. Moves of the champion are written by `lineage.champion` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file
from goodsight.files import read_json
from goodsight.settings import settings
from lineage.ledger import Ledger

PIPELINE = "pipeline"  # the actor of what no person asked for by name


def _append(kind: str, actor: str, subjects: Iterable[str | None], payload: dict[str, Any]) -> None:
    named = dict.fromkeys(subject for subject in subjects if subject)
    Ledger(settings().ledger_url).append(kind, actor, list(named), payload)


def snapshot(version: dict[str, Any], how: str, actor: str, reason: str = "", **more: Any) -> None:
    """A version of a catalogue came: `how` is `import`, `update`, `release`, `erasure`, `feedback` or `pull`, `more` what it was made of.

    `version` is what `catalogue.versions.describe` gives. The same files imported again are no new version and no new event.
    """
    told = [event for event in Ledger(settings().ledger_url).events("snapshot") if event.payload["name"] == version["name"]]
    if told and told[-1].payload["revision"] == version["revision"]:
        return
    facts = {name: version[name] for name in ("name", "revision", "digest", "parent", "source", "counts")}
    _append("snapshot", actor, [version["digest"], version["parent"]], {**facts, "how": how, "reason": reason, **more})


def validation(verdict: dict[str, Any], actor: str) -> None:
    """The data of a snapshot were judged; `verdict` is `DataVerdict.to_json`."""
    told = ("decision", "reason", "raw_digest", "digest", "products_in", "kept", "quarantined", "by_reason")
    counts = ("queries_in", "queries_kept", "events_in", "events_kept")
    _append("validation", actor, [verdict["raw_digest"], verdict["digest"]], {name: verdict[name] for name in (*told, *counts)})


def verdict(path: Path, actor: str) -> None:
    """The gate decided; `path` is its verdict."""
    judged, digest = read_json(path), sha256_file(path)
    parts = [judged[name] or {} for name in ("candidate", "champion")]
    subjects = [part.get(name) for part in parts for name in ("digest", "evaluation", "snapshot")]
    failed = [check["id"] for check in judged["checks"] if check["pass"] is False]
    overridden = [check["id"] for check in judged["checks"] if check["override"]]
    facts = {name: judged[name] for name in ("decision", "candidate", "champion", "policy")}
    facts |= {"verdict": digest, "failed": failed, "overridden": overridden}
    _append("verdict", actor, [digest, judged["policy"], *subjects], facts)


def registration(version: str, tags: dict[str, str], actor: str) -> None:
    """A candidate is a version of the registered model; `tags` are the version's."""
    subjects = [tags["candidate"], tags["snapshot"], tags["verdict"]]
    _append("registration", actor, subjects, {"version": version, **tags})


def deploy(deployment: dict[str, Any], probes: list[str], actor: str, reason: str) -> None:
    """A version passed its smoke test (`probes` by name) and the server was switched to it."""
    _append("deploy", actor, [deployment["candidate"], deployment["index"]], {**deployment, "smoke_test": probes, "reason": reason})


def rollback(deployment: dict[str, Any], actor: str, reason: str) -> None:
    """The server was switched back to a version and its index, which it had served before."""
    _append("rollback", actor, [deployment["candidate"], deployment["index"]], {**deployment, "reason": reason})


def rollout(action: str, rollout: dict[str, Any], actor: str, **more: Any) -> None:
    """A version began to come in beside the one that serves, or that ended: `action` says how, `more` what it showed."""
    facts = {name: rollout[name] for name in ("id", "version", "base", "candidate", "index", "plan", "reason")}
    _append("rollout", actor, [rollout["candidate"], rollout["index"]], {"action": action, **facts, **more})


def run(state: str, run_id: str, revision: str, cause: str, subjects: Iterable[str | None] = (), **more: Any) -> None:
    """A run of the pipeline ended: `cause` says why when it did not succeed, `more` what it cost and what came of it."""
    _append("run", PIPELINE, subjects, {"run_id": run_id, "revision": revision, "state": state, "cause": cause, **more})


def erasure(digests: Iterable[str], actor: str, payload: dict[str, Any]) -> None:
    """A product was taken out of a catalogue; `digests` are those of the version without it and of those that hold it."""
    _append("erasure", actor, digests, payload)


def removal(digests: Iterable[str], actor: str, payload: dict[str, Any]) -> None:
    """Versions of catalogues, with these digests, were removed from a home and its remote."""
    _append("removal", actor, digests, payload)


def bulk(work: dict[str, Any], revision: str, file: Path, products: int, actor: str) -> None:
    """A registered version answered for every product of a version of a catalogue; `file` has the answers."""
    digest = sha256_file(file)
    facts = {**work, "revision": revision, "file": file.name, "sha256": digest, "products": products}
    _append("bulk", actor, [digest, work["candidate"], work["snapshot"]], facts)
