"""Deployment: a version is archived, tried on real inputs in a real server, and only then takes over; else the old one stays.

`<home>/serving/` holds `store/` (model archives: the current version and the one before it), `features/` (the feature store of
each, and the events that were pushed to them), `current.json` (what is served, written only after the smoke test passed) and the
private folders of the servers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_repo.online import OnlineFeatures
from feature_repo.served import forget_features, serve_features
from goodsight.errors import GoodsightError, InputError, RefusedError
from goodsight.files import exclusive, read_json, write_json
from goodsight.progress import note
from goodsight.settings import settings
from lineage.signing import verify
from serving import features, milvus, rollout, running, torchserve
from serving.archive import archive_name, build_archive, digests
from serving.client import Client
from serving.index import Index
from serving.management import MODEL, Management
from serving.running import Running


@dataclass(frozen=True)
class Probe:
    """One request of a smoke test, on real inputs: `request` as `Client.predict` takes it."""

    name: str
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What is served: a version, its archive and the digests of its candidate and index."""

    version: str
    archive: str
    candidate: str
    index: str
    previous: str | None
    deployed_at: str  # ISO 8601, UTC


def endpoint() -> str:
    """Where `goodsight serve` answers."""
    return f"http://{settings().host}:{settings().port}/v1"


def store(home: Path) -> Path:
    return home / "serving" / "store"


def _record(home: Path) -> Path:
    return home / "serving" / "current.json"


def deploying(home: Path) -> AbstractContextManager[None]:
    """The lock that a deployment, a rollback and the start of a server take. Raises `BusyError` when it is held.

    Model servers elsewhere hold it for an instant, when they read what was deployed: that is waited for.
    """
    return exclusive(home / "serving" / "deploy.lock", "A deployment", seconds=1)


def current(home: Path) -> Deployment | None:
    """What is served in `home`, or None before the first deployment."""
    return Deployment(**read_json(_record(home))) if _record(home).exists() else None


def _faults_of_categories(results: list[dict[str, Any]]) -> Iterator[str]:
    probabilities = [result["probability"] for result in results]
    total = sum(probabilities)
    if not results[0]["category"]:
        yield "the first category has no name"
    if any(not 0 <= p <= 1 for p in probabilities) or probabilities != sorted(probabilities, reverse=True):
        yield "the probabilities are not in order between 0 and 1"
    if total > 1.001 or (len(results) < 100 and total < 0.999):
        yield f"the probabilities sum to {total:.4f}, not to 1"


def _faults_of_products(results: list[dict[str, Any]]) -> Iterator[str]:
    scores = [result["score"] for result in results]
    if not results[0]["id"] or not results[0]["title"]:
        yield "the first product has no id or no title"
    if any(not math.isfinite(score) for score in scores) or scores != sorted(scores, reverse=True):
        yield "the scores are not finite and in order"


def _faults_of_vectors(results: list[dict[str, Any]]) -> Iterator[str]:
    length = math.hypot(*results[0]["vector"])
    if not abs(length - 1) < 0.001:
        yield f"the vector has the length {length:.4f}, not 1"


FAULTS = {"categorize": _faults_of_categories, "embed": _faults_of_vectors}  # the other tasks find products


def _faults(answer: dict[str, Any], wanted: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the answer of a smoke test."""
    for name, value in wanted.items():
        if answer[name] != value:
            yield f"{name} is {answer[name]!r}, not {value!r}"
    if not answer["results"]:
        yield "there are no results"
        return
    yield from FAULTS.get(answer["task"], _faults_of_products)(answer["results"])


def _smoke(client: Client, probes: Sequence[Probe], wanted: Mapping[str, str]) -> None:
    """Sends every probe. Raises `RefusedError` at the first that is not answered well: which one and how."""
    for probe in probes:
        request = {"k": 100, **probe.request}
        try:
            faults = list(_faults(client.predict(request), {**wanted, "task": request["task"]}))
        except (GoodsightError, KeyError, TypeError) as error:
            faults = [f"{type(error).__name__}: {error}"]
        if faults:
            raise RefusedError(f"Smoke test {probe.name!r} failed: {'; '.join(faults).rstrip('.')}.")


def _try(server: Running, version: str, probes: Sequence[Probe], wanted: Mapping[str, str]) -> None:
    """Loads `version` beside what is served and probes it. On any failure it is taken out again and the old one serves on."""
    management = Management(server)
    serving = management.versions().get(version)
    if serving is False:  # left over from a deployment that was killed
        management.unregister(version)
    try:
        if not serving:
            management.register(archive_name(version))
        _smoke(Client(server, version), probes, wanted)
    except GoodsightError as error:
        if not serving and version in management.versions():
            management.unregister(version)
        log = f"The server's log: {server.folder}/{running.LOG}"
        raise RefusedError(f"Version {version} was not deployed. {error.message}", log) from error


@contextmanager
def _server(home: Path) -> Iterator[Running]:
    """The running server of `home`, or a temporary one."""
    found = running.find(running.runtime(home))
    if found:
        yield found
        return
    note("no server is running: a temporary one for the smoke test (`goodsight serve` keeps one up)")
    with torchserve.temporary(home / "serving" / "trial", store(home)) as server:
        yield server


def _previous(home: Path, version: str) -> str | None:
    served = current(home)
    if served is None:
        return None
    return served.previous if served.version == version else served.version


def _install(home: Path, server: Running, deployment: Deployment, confirm: Callable[[Deployment], None]) -> None:
    """Writes what is served from now on, switches, and retires the other versions, each after its last answer.

    When the switch or `confirm` fails, what was served before is served again. Killed in between, the next deployment finishes it.
    """
    before, management = current(home), Management(server)
    write_json(_record(home), asdict(deployment))
    try:
        management.set_default(deployment.version)
        confirm(deployment)
    except BaseException:
        _take_back(home, management, before)
        raise
    _retire(management)


def _retire(management: Management) -> None:
    for version, default in management.versions().items():
        if not default:
            management.unregister(version)


def _take_back(home: Path, management: Management, before: Deployment | None) -> None:
    if before is None:
        _record(home).unlink()
        return
    write_json(_record(home), asdict(before))
    with suppress(GoodsightError):  # a server that is gone starts with what is written
        management.set_default(before.version)
        _retire(management)


def prune(home: Path) -> None:
    """Archives that are neither current nor previous nor coming in go: older versions and those that were refused."""
    served, coming = current(home), rollout.read(home)
    kept = {archive_name(version) for version in (served.version, served.previous) if version} if served else set()
    kept |= {coming.archive} if coming and coming.running else set()
    for archive in store(home).iterdir():
        if archive.name not in kept:
            _forget_vectors(archive, [store(home) / name for name in kept])
            shutil.rmtree(archive)
    for folder in features.stores(home).glob(f"{MODEL}-*"):
        if folder.name not in kept:
            forget_features(folder)


def _refuse_other_content(candidate: Path, index: Path, version: str, home: Path) -> None:
    """A version names one candidate and one index for ever; archives of served versions are never overwritten by others."""
    served = current(home)
    record = store(home) / archive_name(version) / "version.json"
    if served and version in (served.version, served.previous) and record.exists():
        held = {name: value for name, value in read_json(record).items() if name != "version"}
        if held != digests(candidate, index):
            raise InputError(f"Version {version} is already deployed with other content.", "Give the new model a new version.")


def _deployment(home: Path, version: str) -> Deployment:
    """The record of an archive in the store as the next one to be served."""
    name = archive_name(version)
    held = read_json(store(home) / name / "version.json")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Deployment(version, name, held["candidate"], held["index"], _previous(home, version), now)


def _bring_vectors(archive: Path) -> None:
    """The vectors of an archive's index to Milvus, where that is configured."""
    if milvus.configured():
        bundle = read_json(archive / "candidate" / "candidate.json")["bundles"]["retrieve"]
        milvus.fill(Index.load(archive / "index", bundle))


def _forget_vectors(archive: Path, kept: Sequence[Path]) -> None:
    """Takes them out of Milvus again, unless an archive that is kept has the same index."""
    record = archive / "index" / "index.json"
    if milvus.configured() and record.exists():
        digest = read_json(record)["digest"]
        if all(read_json(other / "index" / "index.json")["digest"] != digest for other in kept if other.is_dir()):
            milvus.forget(digest)


def _bring_features(store: Path, candidate: Path, index: Path, deployment: Deployment, home: Path) -> None:
    """The feature store of the version from that of its run, with the vectors of its index; the one that serves now stays."""
    out, served = features.stores(home) / deployment.archive, current(home)
    if served and served.version == deployment.version and out.exists():
        return
    loaded = Index.load(index, read_json(candidate / "candidate.json")["bundles"]["retrieve"])
    digests = {name: getattr(deployment, name) for name in ("version", "candidate", "index")}
    serve_features(store, out, deployment.archive, digests, loaded.ids, loaded.vectors, datetime.now(UTC))


@contextmanager
def _beside(
    candidate: Path, index: Path, version: str, probes: Sequence[Probe], home: Path, feature_store: Path | None
) -> Iterator[tuple[Deployment, Running]]:
    """A version archived, loaded beside what serves, and tried; the archives that are in nobody's use after the block go."""
    if not probes:
        raise InputError("A version is deployed only after a smoke test, and there is no probe.", "Give at least one probe.")
    with deploying(home):
        rollout.refuse_while_running(home)
        for folder in (candidate, index):
            verify(folder)
        _refuse_other_content(candidate, index, version, home)
        build_archive(candidate, index, version, store(home))
        deployment = _deployment(home, version)
        wanted = {"model_version": version, "candidate": deployment.candidate, "index": deployment.index}
        try:
            _bring_vectors(store(home) / deployment.archive)
            if feature_store:
                _bring_features(feature_store, candidate, index, deployment, home)
            with _server(home) as server:
                _try(server, version, probes, wanted)
                yield deployment, server
        finally:
            prune(home)


def deploy(
    candidate: Path,
    index: Path,
    version: str,
    probes: Sequence[Probe],
    home: Path,
    feature_store: Path | None = None,
    confirm: Callable[[Deployment], None] = lambda _: None,
) -> Deployment:
    """Serves `candidate` with `index` as `version`, if it answers every one of `probes` well.

    A copy of the run's `feature_store` serves beside it; without one, answers have what the index says of products.

    The running server of `home` switches without a pause; without one, a temporary server makes the trial. `confirm` has the
    last word, right after the switch: when it raises, the old version serves again. Raises `RefusedError`, with the old version
    still serving, when the version does not load or a probe fails; `InputError` when there is no probe or `version` is another
    model; `IntegrityError` when a signature does not count; `BusyError` when another deployment or a rollout is in progress.
    """
    with _beside(candidate, index, version, probes, home, feature_store) as (deployment, server):
        _install(home, server, deployment, confirm)
    return deployment


def bring_in(
    candidate: Path,
    index: Path,
    version: str,
    probes: Sequence[Probe],
    home: Path,
    feature_store: Path | None,
    confirm: Callable[[Deployment], None],
) -> Deployment:
    """Loads a version beside what serves, if it answers every one of `probes` well; it gets no request by itself.

    When `confirm` raises it is taken out again. Raises like `deploy`, and `GoodsightError` when no server is running.
    """
    if running.find(running.runtime(home)) is None:
        raise GoodsightError(f"No server is running for {home}: no requests come.", "Start it with: goodsight serve")
    with _beside(candidate, index, version, probes, home, feature_store) as (deployment, server):
        try:
            confirm(deployment)
        except BaseException:
            Management(server).unregister(version)
            raise
    return deployment


def rollback(version: str, home: Path, confirm: Callable[[Deployment], None] = lambda _: None) -> Deployment:
    """Serves `version` and its index again from their archive, which had passed its smoke test. `confirm` is as for `deploy`.

    Raises `InputError` when the archive is not in this home, `BusyError` when another deployment or a rollout is in progress.
    """
    with deploying(home):
        rollout.refuse_while_running(home)
        return _switch(version, home, confirm)


def let_serve(version: str, home: Path, confirm: Callable[[Deployment], None]) -> Deployment:
    """Serves a version that a rollout brought in. Raises like `rollback`."""
    with deploying(home):
        return _switch(version, home, confirm)


def _switch(version: str, home: Path, confirm: Callable[[Deployment], None]) -> Deployment:
    """Serves `version` from its archive, in the worker that has it where there is one."""
    if not (store(home) / archive_name(version)).is_dir():
        raise InputError(f"The archive of version {version} is not in {home}.", f"goodsight models promote {version}")
    deployment = _deployment(home, version)
    _bring_vectors(store(home) / deployment.archive)
    if (folder := features.stores(home) / deployment.archive).exists():
        with OnlineFeatures(folder) as online:
            online.refresh(datetime.now(UTC))
    with _server(home) as server:
        if version not in Management(server).versions():
            Management(server).register(deployment.archive)
        _install(home, server, deployment, confirm)
    return deployment


def take_out(version: str, home: Path) -> None:
    """Takes a version that does not serve out of the running server, after its last answer. Raises `GoodsightError` when it fails."""
    server = running.find(running.runtime(home))
    if server and Management(server).versions().get(version) is False:
        Management(server).unregister(version)
