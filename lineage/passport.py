"""The passport: what stands behind one prediction, one model or one snapshot, link by link, each checked just now.

    prediction -> model version -> candidate -> bundles -> preprocessing, code
                                             -> run, environment, evaluation
                                -> verdict -> overrides
                                -> deployments and moves of the champion
               -> index, features
               -> snapshot -> validation -> raw snapshot -> DVC revision and git commit

It is found in the prediction log, the ledger and the files under home; neither MLflow nor torch is imported. A link that nothing
tells of stands there as missing. Files are compared by their digests and signatures, events by their hashes; the large files, the
data and the whole chain of the ledger are read by a deep passport alone.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from goodsight.errors import GoodsightError, InputError
from lineage import answered, behind_data, behind_model, history
from lineage.answered import FINDS_PRODUCTS
from lineage.graph import Node, Passport
from lineage.history import History
from lineage.sources import Sources

DIGEST = re.compile(r"[0-9a-f]{6,64}")
ALIASES = ("champion", "previous")


@dataclass(frozen=True)
class Subject:
    """What was asked for: `kind` is `prediction`, `model` or `snapshot`; `name` an id, a version or a digest."""

    kind: str
    name: str


def subject_of(wanted: str, sources: Sources) -> Subject:
    """What `wanted` names: the id of a prediction, a model version, `champion` or `previous`, a revision of the data, or the start
    of the digest of a candidate or a snapshot. Raises `InputError` when it names nothing, or several things.
    """
    if _is_id(wanted):
        return Subject("prediction", wanted.lower())
    if wanted in ALIASES:
        return Subject("model", _champion(wanted, sources))
    if wanted.isdigit() and len(wanted) < 6:
        return Subject("model", wanted)
    found = dict.fromkeys(Subject("snapshot", version.digest) for version in sources.versions(wanted))
    if DIGEST.fullmatch(wanted.lower()):
        for digest in history.starting(sources.ledger, wanted.lower()):
            found |= dict.fromkeys(_named(digest, history.about(sources.ledger, digest)))
    if len(found) == 1:
        return next(iter(found))
    several = f"{wanted!r} is short for {' and '.join(each.name for each in found)}." if found else f"Nothing here is called {wanted!r}."
    hint = "Give the id of an answer, a model version, a revision of the data, or six letters or more of a digest."
    raise InputError(several, hint)


def _is_id(wanted: str) -> bool:
    try:
        return str(uuid.UUID(wanted)) == wanted.lower()
    except ValueError:
        return False


def _champion(alias: str, sources: Sources) -> str:
    moves = history.of_kind(sources.ledger, "alias_move").events
    version = moves[-1].payload.get("version" if alias == "champion" else "previous") if moves else None
    if version is None:
        raise InputError(f"The ledger tells of no {alias}.", "Train and deploy a model first: goodsight run")
    return str(version)


def _named(digest: str, told: History) -> list[Subject]:
    models = [event.payload["version"] for event in told.of("registration") if event.payload.get("candidate") == digest]
    data = {event.payload.get(name) for event in told.of("snapshot", "validation") for name in ("digest", "raw_digest")}
    return [Subject("model", version) for version in models] + [Subject("snapshot", digest)] * (digest in data)


def passport(wanted: str, sources: Sources, deep: bool = False) -> Passport:
    """The passport of what `wanted` names (`subject_of`). Raises `InputError` when nothing is found by that name."""
    subject = subject_of(wanted, sources)
    made = Passport(f"{subject.kind}:{subject.name}", datetime.now(UTC).isoformat(timespec="milliseconds"), deep)
    if subject.kind == "prediction":
        _prediction(made, sources, subject.name)
    elif subject.kind == "model":
        _model(made, sources, subject.name)
    else:
        behind_data.snapshot(made, sources, subject.name)
    if deep:
        _chain(made, sources)
    return made


def _prediction(made: Passport, sources: Sources, identity: str) -> None:
    row = answered.prediction(sources.predictions, identity)
    if row is None:
        lost = sum(gap["count"] for gap in answered.gaps(sources.predictions))
        hint = f"{lost:,} answers are missing from it." if lost else "Is it from another home, or from before answers were logged?"
        raise InputError(f"The prediction log knows no answer {identity}.", hint)
    here = made.add(Node("prediction", identity, "recorded", "a row of the prediction log, which is not signed", row))
    version, candidate = row["model_version"], row["candidate"]
    behind_model.model(made, sources, version, candidate, here, "answered by")
    behind_model.index(made, sources, version, row["index"], here, "searched" if row["task"] in FINDS_PRODUCTS else "served beside")
    if row["features"]:
        behind_model.features(made, sources, row["features"], row["index"], here, "read")


def _model(made: Passport, sources: Sources, version: str) -> None:
    told = history.of_kind(sources.ledger, "registration")
    registered = [event for event in told.events if event.payload.get("version") == version]
    if not registered:
        raise InputError(f"The ledger tells of no model version {version}.", "See them with: goodsight models list")
    candidate = str(registered[-1].payload["candidate"])
    here = behind_model.model(made, sources, version, candidate)
    indexes = {event.payload["index"]: event for event in history.about(sources.ledger, candidate).of("deploy", "rollback")}
    for digest in indexes:
        behind_model.index(made, sources, version, digest, here, "serves with")


def _chain(made: Passport, sources: Sources) -> None:
    from lineage.ledger import Ledger

    try:
        length = Ledger(sources.ledger).verify()
        made.add(Node("ledger", "chain", "verified", f"an unbroken chain of {length:,} events, as its checkpoint knows it"), made.root)
    except GoodsightError as error:
        made.add(Node("ledger", "chain", "altered", error.message), made.root)
