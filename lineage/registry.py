"""The model registry: MLflow runs and versions of the registered model `goodsight`.

A version is one candidate, told by its digest: registering it again gives the same version. The alias `candidate` is the one
registered last; who is champion is said by `lineage.champion`. A version that came to deployment has what it is served with in
its run, so that it can be served again. Artifacts lie under home, or where a tracking server
puts them. MLflow takes seconds to import, so only the functions here import it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url

from goodsight.digests import canonical_json, sha256_file
from goodsight.errors import BusyError, InputError
from goodsight.files import read_json
from goodsight.settings import settings, silence_telemetry
from lineage import record
from lineage.ledger import Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities.model_registry import ModelVersion

MODEL = EXPERIMENT = "goodsight"
DIGEST_LENGTH = 36  # longest dataset digest MLflow stores; the whole one is in the version's tag `snapshot`
INDEX, FEATURES, PROBES = "index", "features", "probes.json"  # where a run keeps what its candidate is served with
FACTS = ("candidate", "snapshot", "revision", "architecture", "verdict", "decision")  # the tags that a version gets with it
CHATTY = ("alembic", "mlflow")


@dataclass(frozen=True)
class Parts:
    """What a version is served with. `features` is the feature store of its run, `probes` the requests of its smoke test."""

    candidate: Path
    index: Path
    features: Path | None
    probes: list[dict[str, Any]]


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """A tracking server that cannot be reached is an error of ours, which says that a retry may help."""
    silence_telemetry()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if "API request to" not in error.message:  # MLflow's words for a request that had no answer
            raise
        raise BusyError(f"MLflow at {settings().mlflow_uri} does not answer: {error.message}", "Try again when it does.") from error


@_answering()
def register(
    candidate: Path,
    evaluation: Path,
    verdict: Path,
    snapshot: dict[str, str],
    params: dict[str, Any],
    plots: Path,
    run_name: str,
) -> str:
    """Makes one MLflow run and one model version of `candidate`; returns the version, or the one it already has.

    Either way it is `candidate` from now on, and the ledger has its registration. `snapshot` has `name`, `digest` and optionally
    `source` (where it lies). The run holds parameters, metrics, baselines, the dataset input, and the candidate, evaluation,
    verdict and plots as artifacts. Raises `InputError` when one of them is missing, `BusyError` when MLflow does not answer.
    """
    described = read_json(candidate / "candidate.json")
    for path in (evaluation, verdict, plots):  # MLflow logs a missing folder as an empty one
        if not path.exists():
            raise InputError(f"{path} is missing: nothing was registered.", "Run the step that makes it again.")
    client = connect()
    version = _version_of(client, described["digest"])
    if version is None:
        run = client.create_run(experiment(client), run_name=run_name).info.run_id
        status = "FAILED"
        try:
            _log(client, run, evaluation, snapshot, params)
            for folder, place in ((candidate, "candidate"), (evaluation, "evaluation"), (plots, "plots")):
                client.log_artifacts(run, str(folder), place)
            client.log_artifact(run, str(verdict), "verdict")
            version = _new_version(client, run, described, verdict, snapshot)
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
    client.set_registered_model_alias(MODEL, "candidate", version.version)
    record.registration(str(version.version), _facts(version), record.PIPELINE)
    return str(version.version)


def keep_parts(version: str, parts: Parts) -> None:
    """Keeps with the run of `version` what it is served with, so that it can be served again at any time.

    The tag `index`, its digest, is set last: it says that all of it is there. Raises `InputError` when the version was served
    with another index: then it names one candidate and one index for ever.
    """
    client, digest = connect(), read_json(parts.index / "index.json")["digest"]
    registered = found(client, version)
    run = registered.run_id or ""
    if registered.tags.get("index") == digest:
        return
    served = [event.payload["index"] for event in Ledger(settings().ledger_url).events("deploy") if event.payload["version"] == version]
    if served and digest not in served:
        raise InputError(f"Version {version} was served with the index {served[-1][:12]}.", "Give the new model a new version.")
    client.log_artifacts(run, str(parts.index), f"{INDEX}/{digest}")
    if parts.features:
        client.log_artifacts(run, str(parts.features), f"{FEATURES}/{digest}")
    client.log_dict(run, {"probes": parts.probes}, PROBES)
    client.set_model_version_tag(MODEL, version, "index", digest)


def parts_of(version: str) -> Parts:
    """What a version is served with, as `keep_parts` kept it.

    Raises `InputError` when there is no such version, or it never came to deployment.
    """
    client = connect()
    registered = found(client, version)
    digest = registered.tags.get("index")
    if digest is None:
        again = f"goodsight run --revision {registered.tags['revision']} with what it was trained with: the cache has the rest."
        raise InputError(f"Version {version} has no index: its run ended before deployment.", again)
    stored = client.list_artifacts(registered.run_id or "", f"{FEATURES}/{digest}")
    return Parts(
        candidate=_local(client, registered, "candidate"),
        index=_local(client, registered, f"{INDEX}/{digest}"),
        features=_local(client, registered, f"{FEATURES}/{digest}") if stored else None,
        probes=read_json(_local(client, registered, PROBES))["probes"],
    )


def versions() -> list[dict[str, Any]]:
    """Every version, oldest first: its tags, aliases, time of registration (ISO 8601, UTC) and figures, by MLflow's names of them."""
    client = connect()
    named = aliases(client)
    registered = client.search_model_versions(f"name = '{MODEL}'")
    return [_row(client, each, named) for each in sorted(registered, key=lambda each: int(each.version))]


def describe(version: str) -> dict[str, Any]:
    """Everything of one version: what `versions` tells, parameters, figures with baselines, candidate, provenance of its bundles.

    Raises `InputError` when there is no such version.
    """
    client = connect()
    registered = found(client, version)
    candidate, evaluation = (_local(client, registered, place) for place in ("candidate", "evaluation"))
    figures, described = read_json(evaluation / "metrics.json"), read_json(candidate / "candidate.json")
    return {
        **_row(client, registered, aliases(client)),
        "metrics": figures["metrics"],
        "baselines": figures["baselines"],
        "params": client.get_run(registered.run_id or "").data.params,
        "bundles": described.get("bundles", {}),
        "provenance": {path.parent.name: read_json(path) for path in sorted(candidate.glob("*/provenance.json"))},
    }


def aliases(client: MlflowClient) -> dict[str, str]:
    """alias -> version, as MLflow has them."""
    models = client.search_registered_models(f"name = '{MODEL}'")
    return {alias: str(version) for alias, version in models[0].aliases.items()} if models else {}


def trained_on(revisions: Collection[str]) -> list[str]:
    """The versions, oldest first, that learned from one of these catalogue revisions; each has an index of the same products."""
    registered = connect().search_model_versions(f"name = '{MODEL}'")
    return sorted((str(each.version) for each in registered if each.tags.get("revision") in revisions), key=int)


def candidate_folder(version: str) -> Path:
    """The candidate that was registered as `version`. Raises `InputError` when there is no such version."""
    client = connect()
    return _local(client, found(client, version), "candidate")


def replace_candidate(version: str, folder: Path) -> None:
    """Puts `folder`, the same candidate signed anew, in the place of what was registered as `version`.

    Raises `InputError` when it is another candidate.
    """
    client = connect()
    registered = found(client, version)
    if (digest := read_json(folder / "candidate.json")["digest"]) != registered.tags["candidate"]:
        raise InputError(f"{folder} is candidate {digest[:12]}, not that of version {version}.", "Register it as a new version.")
    client.log_artifacts(registered.run_id or "", str(folder), "candidate")


def ui_command() -> str:
    """The command that shows runs and versions in a browser; a password in the URL is not shown."""
    uri = make_url(settings().mlflow_uri).render_as_string()
    return f"xdg-open {uri}" if _is_server(uri) else f"mlflow ui --backend-store-uri {uri} --host 127.0.0.1"


def metric_name(name: str) -> str:
    """`name` as MLflow allows it: recall@1 becomes recall_at_1, query t->i becomes query t-to-i."""
    return name.replace("@", "_at_").replace("->", "-to-")


def connect() -> MlflowClient:
    """MLflow's client of this home."""
    silence_telemetry()
    from mlflow import MlflowClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = settings().mlflow_uri
    settings().root.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def experiment(client: MlflowClient, name: str = EXPERIMENT) -> str:
    """The id of an experiment, made when there is none of that name."""
    known = client.get_experiment_by_name(name)
    if known:
        return known.experiment_id
    place = None if _is_server(settings().mlflow_uri) else (settings().root / "mlartifacts").as_uri()
    return client.create_experiment(name, artifact_location=place)


def _log(client: MlflowClient, run: str, evaluation: Path, snapshot: dict[str, str], params: dict[str, Any]) -> None:
    figures = read_json(evaluation / "metrics.json")
    for name, value in params.items():
        client.log_param(run, name, value)
    for prefix, kind in (("", "metrics"), ("baseline/", "baselines")):
        for name, value in figures[kind].items():
            client.log_metric(run, prefix + metric_name(name), value)
    client.log_inputs(run, datasets=[_dataset(snapshot)])


def _dataset(snapshot: dict[str, str]) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = canonical_json({"uri": snapshot.get("source", snapshot["name"])})
    dataset = Dataset(snapshot["name"], snapshot["digest"][:DIGEST_LENGTH], source_type="local", source=source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _new_version(
    client: MlflowClient, run: str, described: dict[str, Any], verdict: Path, snapshot: dict[str, str]
) -> ModelVersion:
    """The version with its tags in one write: a killed run leaves no version without digest."""
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    tags = {
        "candidate": described["digest"],
        "snapshot": snapshot["digest"],
        "revision": snapshot.get("source", ""),
        "architecture": described["architecture"],
        "verdict": sha256_file(verdict),
        "decision": read_json(verdict)["decision"],
    }
    source = f"{client.get_run(run).info.artifact_uri}/candidate"
    return client.create_model_version(MODEL, source, run_id=run, tags=tags)


def _facts(version: ModelVersion) -> dict[str, str]:
    return {name: version.tags.get(name, "") for name in FACTS}


def _row(client: MlflowClient, version: ModelVersion, named: dict[str, str]) -> dict[str, Any]:
    return {
        "version": str(version.version),
        **_facts(version),
        "index": version.tags.get("index"),
        "aliases": sorted(alias for alias, of in named.items() if of == str(version.version)),
        "registered": datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        "run": version.run_id,
        "metrics": client.get_run(version.run_id or "").data.metrics,
    }


def _version_of(client: MlflowClient, digest: str) -> ModelVersion | None:
    same = client.search_model_versions(f"name = '{MODEL}' and tag.candidate = '{digest}'")
    return same[0] if same else None


def found(client: MlflowClient, version: str) -> ModelVersion:
    """MLflow's entry of a version. Raises `InputError` when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(MODEL, version)
    except MlflowException as error:
        raise InputError(f"{MODEL} has no version {version!r}: {error.message}", f"See {ui_command()}") from error


def _local(client: MlflowClient, version: ModelVersion, place: str) -> Path:
    """The folder `place` of the version's run: where it lies, or a copy when a server keeps it."""
    from mlflow.artifacts import download_artifacts

    artifacts = client.get_run(version.run_id or "").info.artifact_uri
    return Path(download_artifacts(artifact_uri=f"{artifacts}/{place}", tracking_uri=settings().mlflow_uri))
