"""What stands behind a model version: the candidate and its bundles, the run, the verdict, who let it serve, its index and features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file
from lineage import behind_verdict, history, kept
from lineage.behind_data import hashed, snapshot
from lineage.event import Event
from lineage.graph import Node, Passport, State
from lineage.history import History
from lineage.kept import as_object, checked, places, read_object
from lineage.sources import Sources

MOVES = ("deploy", "alias_move", "rollback")


def model(made: Passport, sources: Sources, version: str, candidate: str, source: str = "", label: str = "") -> str:
    """Adds the model `version`, that is `candidate` (a digest), and what stands behind it; returns its node."""
    told = history.about(sources.ledger, candidate)
    registered = [event for event in told.of("registration") if event.payload.get("version") == version]
    facts: dict[str, Any] = {"candidate": candidate}
    if registered:
        first = registered[0]
        facts |= {"registered": first.time, "by": first.actor, **first.payload}
        node = Node("model", version, "verified", hashed([first]), facts)
    else:
        node = Node("model", version, *_unregistered(sources, version, candidate, told), facts)
    here = made.add(node, source, label)
    copies = kept.candidates(sources.home, version, candidate)
    _candidate(made, sources, candidate, copies, here)
    behind_verdict.verdict(made, registered, told, copies, here)
    _moves(made, told, here)
    return here


def _unregistered(sources: Sources, version: str, candidate: str, told: History) -> tuple[State, str]:
    """What it means that no registration ties the two."""
    for event in history.of_kind(sources.ledger, "registration").events:
        if event.payload.get("version") == version:
            return "altered", f"event {event.seq} registered version {version} as candidate {event.payload['candidate'][:12]}"
    if told.altered:
        return "altered", f"event {told.altered[0]} of the ledger is not what its hash says"
    return "missing", f"no `registration` event of the ledger tells of version {version}"


def _candidate(made: Passport, sources: Sources, digest: str, copies: list[Path], source: str) -> None:
    if not copies:
        how = "no copy of it is in this home: the tracking server or the cluster that made it may have one"
        here = made.add(Node("candidate", digest, "missing", how), source, "is")
    else:
        state, how = checked(copies, lambda copy: kept.check_candidate(copy, digest, made.deep))
        record, files = read_object(copies[0] / "candidate.json"), sorted(path.name for path in copies[0].iterdir())
        facts = {name: record.get(name) for name in ("architecture", "size", "bundles", "snapshot")}
        bundles = as_object(record.get("bundles"))
        facts |= {"copies": places(copies, sources.home), "files": files}
        here = made.add(Node("candidate", digest, state, how, facts), source, "is")
        for task in sorted(bundles):
            _bundle(made, copies[0], task, str(bundles[task]), here)
        _environment(made, copies[0], here)
        if learned_from := str(facts["snapshot"] or ""):
            snapshot(made, sources, learned_from, here, "learned from")
    _run(made, sources, digest, copies, here)


def _bundle(made: Passport, folder: Path, task: str, digest: str, source: str) -> None:
    place = folder / task
    state, how = checked([place], lambda copy: kept.check_bundle(copy, digest, made.deep))
    files = read_object(place / "manifest.json").get("files")
    provenance = read_object(place / "provenance.json")
    facts = {"task": task, "files": files, "recipe": provenance.get("recipe")}
    here = made.add(Node("bundle", digest, state, how, facts), source, f"has for `{task}`")
    prepared, code = str(read_object(place / "preprocess.json").get("digest", "")), str(provenance.get("code", ""))
    covered = "told by a file of the bundle, whose digest matches" if state == "verified" else how
    for kind, name, label in (("preprocessing", prepared, "reads inputs by"), ("code", code, "made by")):
        if name:
            made.add(Node(kind, name, state, covered), here, label)
        else:
            made.add(Node(kind, "unknown", "missing", f"the bundle for `{task}` does not tell"), here, label)


def _environment(made: Passport, folder: Path, source: str) -> None:
    """The installed libraries and the commit of our code, as the provenance of the registered folder tells of them."""
    used = _dependencies(read_object(folder / "provenance.intoto.json"))
    listed = folder / "environment.txt"
    promised = as_object(as_object(used.get("environment.txt")).get("digest")).get("sha256")
    if not listed.is_file():
        made.add(Node("environment", "unknown", "missing", "the registered folder has no environment.txt"), source, "made in")
    else:
        digest = sha256_file(listed)
        same = promised in (None, digest)
        how = "environment.txt has the digest that the provenance states" if promised else "the provenance states no digest of it"
        how = how if same else f"environment.txt is not the one of the provenance, {promised}"
        libraries = listed.read_text(errors="replace").splitlines()
        made.add(Node("environment", digest, "verified" if same else "altered", how, {"libraries": libraries}), source, "made in")
    commit = as_object(used.get("source"))
    if revision := as_object(commit.get("digest")).get("gitCommit"):
        facts = {"uri": commit.get("uri"), **as_object(commit.get("annotations"))}
        made.add(Node("git commit", revision, "recorded", "stated by the provenance", facts), source, "code of")
    else:
        made.add(Node("git commit", "unknown", "missing", "the provenance states none: the code was not a git checkout"), source, "code of")


def _dependencies(statement: dict[str, Any]) -> dict[str, Any]:
    """name -> what an in-toto statement with SLSA provenance says of each thing that went into the build."""
    stated = as_object(as_object(statement.get("predicate")).get("buildDefinition")).get("resolvedDependencies")
    listed = map(as_object, stated) if isinstance(stated, list) else ()
    return {str(each.get("name")): each for each in listed}


def _run(made: Passport, sources: Sources, candidate: str, copies: list[Path], source: str) -> None:
    """The run that registered the candidate, as its provenance names it, else the first that the ledger tells of."""
    runs = history.about(sources.ledger, candidate).of("run")
    details = as_object(as_object(read_object(copies[0] / "provenance.intoto.json").get("predicate")).get("runDetails")) if copies else {}
    named = as_object(details.get("metadata")).get("invocationId")
    if runs:
        run = next((event for event in runs if event.payload["run_id"] == named), runs[0])
        asked_again = [event.payload["run_id"] for event in runs if event.seq > run.seq]
        facts = {"ended": run.time, **run.payload, "asked again": asked_again}
        made.add(Node("run", str(run.payload["run_id"]), "verified", hashed([run]), facts), source, "made by")
    else:
        how = "no `run` event of the ledger names this candidate"
        made.add(Node("run", str(named or "unknown"), "missing", how), source, "made by")


def _moves(made: Passport, told: History, source: str) -> None:
    """When it served and who decided so."""
    moves = told.of(*MOVES)
    name = source.partition(":")[2]
    if told.altered:
        how = f"event {told.altered[0]} of the ledger is not what its hash says"
        made.add(Node("deployments", name, "altered", how), source, "served since")
    elif not moves:
        made.add(Node("deployments", name, "missing", "no `deploy` or `alias_move` event tells of it"), source, "served since")
    else:
        lines = [{"time": move.time, "what": move.kind, "by": move.actor, **_move(move)} for move in moves]
        made.add(Node("deployments", name, "verified", hashed(moves), {"moves": lines}), source, "served since")


def _move(event: Event) -> dict[str, Any]:
    return {name: event.payload[name] for name in ("version", "previous", "index", "reason") if event.payload.get(name) is not None}


def index(made: Passport, sources: Sources, version: str, digest: str, source: str, label: str) -> None:
    """Adds the index of `digest` and the snapshot and bundle that it is of."""
    copies = kept.indexes(sources.home, version, digest)
    if not copies:
        made.add(Node("index", digest, "missing", "no copy of it is in this home"), source, label)
        return
    state, how = checked(copies, lambda copy: kept.check_index(copy, digest, made.deep))
    record = read_object(copies[0] / "index.json")
    facts = {name: record.get(name) for name in ("kind", "dimension", "count", "files", "candidate", "bundle", "snapshot")}
    here = made.add(Node("index", digest, state, how, facts | {"copies": places(copies, sources.home)}), source, label)
    maker = str(record.get("bundle"))
    unknown = Node("bundle", maker, "missing", "no candidate in this passport has such a bundle")
    made.add(made.nodes.get(f"bundle:{maker}", unknown), here, "embedded by")
    if products := record.get("snapshot"):
        snapshot(made, sources, str(products), here, "of the products of")


def features(made: Passport, sources: Sources, name: str, index_digest: str, source: str, label: str) -> None:
    """Adds the feature store that an answer read: its project is named after the index that it serves beside."""
    store = sources.home / "serving" / "features" / name
    config = store / "feature_store.yaml"
    if not config.is_file():
        made.add(Node("features", name, "missing", "the store is not in this home: it goes with its version"), source, label)
        return
    text = config.read_text(errors="replace")
    project = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("project:")), "")
    files = {path.name: sha256_file(path) for path in sorted(store.glob("registry*")) if path.is_file()}
    same = project == f"goodsight_{index_digest[:12]}"
    how = "its project is named after the index; values change with events" if same else f"its project is {project!r}, of another index"
    here = made.add(Node("features", name, "recorded" if same else "altered", how, {"project": project, **files}), source, label)
    if (served := made.nodes.get(f"index:{index_digest}")) and same:
        made.add(served, here, "made for")
