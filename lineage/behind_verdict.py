"""What let a model serve: the verdict of the gate, the evaluation that it judged, and the overrides that it took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file, sha256_folder
from lineage.behind_data import hashed
from lineage.event import Event
from lineage.graph import Node, Passport, State
from lineage.history import History
from lineage.kept import as_object, read_object


def verdict(made: Passport, registered: list[Event], told: History, copies: list[Path], source: str) -> None:
    decided = told.of("verdict")
    files = [path for copy in copies for path in (copy / "verdict.json", *copy.parent.glob("verdict/*.json")) if path.is_file()]
    digest = next((str(event.payload["verdict"]) for event in (*registered, *decided) if event.payload.get("verdict")), "")
    if not digest and not files:
        made.add(Node("verdict", "unknown", "missing", "no `verdict` event, and no verdict beside the candidate"), source, "allowed by")
        return
    found = {path: sha256_file(path) for path in files}
    digest = digest or next(iter(found.values()))
    judged = read_object(files[0]) if files else {}
    state, how = _same(found, digest, decided)
    overridden = list(_overridden(judged))
    facts = {name: judged.get(name) for name in ("decision", "policy", "champion")}
    facts |= {"failed": _checks(judged, False), "passed": len(_checks(judged, True)), "overridden": overridden}
    here = made.add(Node("verdict", digest, state, how, facts), source, "allowed by")
    _evaluation(made, judged, copies, here)
    _overrides(made, told, overridden, here)


def _same(found: dict[Path, str], digest: str, decided: list[Event]) -> tuple[State, str]:
    for path, other in found.items():
        if other != digest:
            return "altered", f"{path} is not the verdict {digest[:12]} that the ledger tells of"
    told = hashed(decided[:1]) if decided else "no `verdict` event of the ledger tells of it"
    if not found:
        return ("recorded" if decided else "missing"), f"{told}; the file is not in this home"
    return ("verified" if decided else "recorded"), f"{told}; the file has this digest"


def _checks(judged: dict[str, Any], outcome: bool) -> list[str]:
    return [
        str(check.get("id") or f"{check.get('metric')}: {check.get('name')}")
        for check in map(as_object, judged.get("checks") or ())
        if check.get("pass") is outcome
    ]


def _overridden(judged: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for check in map(as_object, judged.get("checks") or ()):
        if override := as_object(check.get("override")):
            yield {"check": check.get("id"), **override}


def _evaluation(made: Passport, judged: dict[str, Any], copies: list[Path], source: str) -> None:
    promised = str(as_object(judged.get("candidate")).get("evaluation") or "")
    folders = [folder for copy in copies if (folder := copy.parent / "evaluation").is_dir()]
    if not folders:
        made.add(Node("evaluation", promised or "unknown", "missing", "its folder is not in this home"), source, "judged")
        return
    digest = sha256_folder(folders[0])
    facts = as_object(read_object(folders[0] / "metrics.json").get("metrics"))
    if promised and digest != promised:
        made.add(Node("evaluation", promised, "altered", f"{folders[0]} is not the one that the gate judged", facts), source, "judged")
    else:
        how = "the digest is the one in the verdict" if promised else "the verdict does not tell its digest"
        made.add(Node("evaluation", digest, "verified" if promised else "recorded", how, facts), source, "judged")


def _overrides(made: Passport, told: History, used: list[dict[str, Any]], source: str) -> None:
    """Those that the verdict used, which stand in it, and those in the ledger that name this candidate."""
    named = told.of("override")
    if not used and not named:
        return
    facts = {"used": used, "recorded": [{"time": event.time, "by": event.actor, **event.payload} for event in named]}
    how = hashed(named) if named else "told by the verdict; the ledger's overrides of every candidate: goodsight gate overrides"
    made.add(Node("overrides", source.partition(":")[2], "verified" if named else "recorded", how, facts), source, "passed over by")
