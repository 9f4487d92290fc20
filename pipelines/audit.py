"""Whether anything was altered since: the ledger, what is registered, what is served and what it learned from, checked one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from goodsight.digests import sha256_file
from goodsight.errors import GoodsightError, IntegrityError
from goodsight.files import read_json
from goodsight.settings import settings

AGAIN = "Make it again from a version that is whole: goodsight run"


@dataclass(frozen=True)
class Check:
    """One thing that was checked: what was found, or what is wrong with it."""

    name: str
    found: str
    fault: str | None = None


def checks(home: Path, deep: bool) -> Iterator[Check]:
    """Everything of this home; every byte of the catalogue versions too when `deep`, else what their manifests say of themselves."""
    yield _check("ledger", _ledger)
    yield from _registered(home)
    yield from _served(home)
    yield from _catalogue(home, deep)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, look())
    except GoodsightError as error:
        return Check(name, "", error.message)


def _ledger() -> str:
    from lineage import checkpoints
    from lineage.ledger import Ledger

    events = Ledger(settings().ledger_url).verify()
    last = checkpoints.newest()
    return f"{events:,} events, an unbroken chain; checkpoint at event {last.seq if last else 0:,}"


def _registered(home: Path) -> Iterator[Check]:
    from lineage import registry

    if (home / "mlflow.db").exists() or settings().tracking_uri:
        for tags in registry.versions():
            version = str(tags["version"])
            yield _check(f"registered version {version}", partial(_bundle, version, tags))


def _bundle(version: str, tags: dict[str, Any]) -> str:
    """The signers of what was registered as `version`: the candidate, verdict and index that its tags name, once it has an index."""
    from lineage import registry
    from lineage.signing import verify

    folder = registry.candidate_folder(version)
    found = f"candidate {_by(verify(folder))}"
    for name, digest in (("candidate", read_json(folder / "candidate.json")["digest"]), ("verdict", sha256_file(folder / "verdict.json"))):
        _same(f"{folder / name}.json", digest, tags[name])
    if not tags["index"]:
        return f"{found}, no index yet"
    index = registry.parts_of(version).index
    found = f"{found}, index {_by(verify(index))}"
    _same(f"{index / 'index.json'}", read_json(index / "index.json")["digest"], tags["index"])
    return found


def _served(home: Path) -> Iterator[Check]:
    from serving.deploy import current, store

    served = current(home)
    for name, place in (("served", served.version), ("previous", served.previous)) if served else ():
        archive = store(home) / f"goodsight-{place}"
        if place and (name == "served" or archive.exists()):
            wanted = {"version": place, "candidate": served.candidate, "index": served.index} if served and name == "served" else {}
            yield _check(f"{name} version {place}", partial(_archive, archive, wanted))


def _archive(archive: Path, wanted: dict[str, str]) -> str:
    """The signers of an archive's candidate and index, which must be those that it, and the record of what is served, name."""
    from lineage.signing import verify

    signers = {name: verify(archive / name) for name in ("candidate", "index")}
    told = read_json(archive / "version.json")
    for name in signers:
        _same(f"{archive / name}", read_json(archive / name / f"{name}.json")["digest"], told[name])
    for name, value in wanted.items():
        _same(f"{archive / 'version.json'}, {name}", told[name], value)
    return ", ".join(f"{name} {_by(signer)}" for name, signer in signers.items())


def _catalogue(home: Path, deep: bool) -> Iterator[Check]:
    from catalogue.versions import list_versions

    for version in list_versions(home):
        yield _check(f"catalogue version {version['revision']}", partial(_data, version, home, deep))


def _data(version: dict[str, Any], home: Path, deep: bool) -> str:
    from catalogue.snapshot import check_manifest
    from catalogue.versions import opened

    if not deep:
        check_manifest(version, Path(f"{version['name']}.json"))
        return f"the manifest of {len(version['files']):,} files (its bytes: --deep)"
    with opened(version["revision"], home) as (snapshot, _):
        return f"every byte of {len(snapshot.manifest['files']):,} files"


def _same(what: str, found: str, promised: str) -> None:
    if found != promised:
        raise IntegrityError(f"{what} is {found[:12]}, not {promised[:12]} as recorded.", AGAIN)


def _by(signer: str) -> str:
    return f"signed by {signer[:12] if len(signer) == 64 else signer}"
