"""The model registry: MLflow runs and versions of the registered model `goodsight`, and who is champion.

A version is one candidate, told by its digest: registering it again gives the same version. Aliases move through
`set_champion` alone, which writes the move to the ledger first. Artifacts lie under home, or where a tracking server
puts them. MLflow takes seconds to import, so only the functions here import it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url

from goodsight.digests import canonical_json, sha256_file
from goodsight.errors import InputError
from goodsight.files import read_json
from goodsight.settings import settings, silence_telemetry
from lineage.ledger import Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.entities.model_registry import ModelVersion

MODEL = EXPERIMENT = "goodsight"
DIGEST_LENGTH = 36  # longest dataset digest MLflow stores; the whole one is in the version's tag `snapshot`
CHATTY = ("alembic", "mlflow")


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

    `snapshot` has `name`, `digest` and optionally `source` (where it lies). The run holds parameters, metrics,
    baselines, the dataset input, and the candidate, evaluation, verdict and plots as artifacts. Raises `InputError`
    when one of them is missing.
    """
    described = read_json(candidate / "candidate.json")
    for path in (evaluation, verdict, plots):  # MLflow logs a missing folder as an empty one
        if not path.exists():
            raise InputError(f"{path} is missing: nothing was registered.", "Run the step that makes it again.")
    client = _client()
    if known := _version_of(client, described["digest"]):
        return str(known.version)
    run = client.create_run(_experiment(client), run_name=run_name)
    status = "FAILED"
    try:
        _log(client, run.info.run_id, evaluation, snapshot, params)
        for folder, place in ((candidate, "candidate"), (evaluation, "evaluation"), (plots, "plots")):
            client.log_artifacts(run.info.run_id, str(folder), place)
        client.log_artifact(run.info.run_id, str(verdict), "verdict")
        version = _new_version(client, run.info.run_id, described, verdict, snapshot)
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    return str(version.version)


def set_champion(version: str, actor: str = "pipeline") -> None:
    """Moves the alias `champion` to `version` and `previous` to the champion until now, the ledger first.

    Does nothing when `version` is champion already. Raises `InputError` when there is no such version.
    """
    client = _client()
    new, old = _version(client, version), _aliased(client, "champion")
    if old and old.version == new.version:
        return
    until_now = str(old.version) if old else None
    move = {"alias": "champion", "model": MODEL, "version": str(new.version), "previous": until_now}
    Ledger(settings().ledger_url).append("alias_move", actor, [new.tags["candidate"]], move)
    if old:
        client.set_registered_model_alias(MODEL, "previous", str(old.version))
    client.set_registered_model_alias(MODEL, "champion", str(new.version))


def champion() -> dict[str, Any] | None:
    """The champion's version, digest, snapshot, architecture and local folders `candidate`, `evaluation`; or None."""
    client = _client()
    found = _aliased(client, "champion")
    if not found:
        return None
    return {
        "version": str(found.version),
        "digest": found.tags["candidate"],
        "snapshot": found.tags["snapshot"],
        "architecture": found.tags["architecture"],
        "candidate": _local(client, found, "candidate"),
        "evaluation": _local(client, found, "evaluation"),
    }


def versions() -> list[dict[str, Any]]:
    """Every version with its tags, oldest first."""
    found = _client().search_model_versions(f"name = '{MODEL}'")
    return [{"version": str(each.version), **each.tags} for each in sorted(found, key=lambda each: int(each.version))]


def trained_on(revisions: Collection[str]) -> list[str]:
    """The versions, oldest first, that learned from one of these catalogue revisions; each has an index of the same products."""
    found = _client().search_model_versions(f"name = '{MODEL}'")
    return sorted((str(each.version) for each in found if each.tags.get("revision") in revisions), key=int)


def candidate_folder(version: str) -> Path:
    """The candidate that was registered as `version`. Raises `InputError` when there is no such version."""
    client = _client()
    return _local(client, _version(client, version), "candidate")


def replace_candidate(version: str, folder: Path) -> None:
    """Puts `folder`, the same candidate signed anew, in the place of what was registered as `version`.

    Raises `InputError` when it is another candidate.
    """
    client = _client()
    found = _version(client, version)
    if (digest := read_json(folder / "candidate.json")["digest"]) != found.tags["candidate"]:
        raise InputError(f"{folder} is candidate {digest[:12]}, not that of version {version}.", "Register it as a new version.")
    client.log_artifacts(found.run_id or "", str(folder), "candidate")


def ui_command() -> str:
    """The command that shows runs and versions in a browser; a password in the URL is not shown."""
    uri = make_url(settings().mlflow_uri).render_as_string()
    return f"xdg-open {uri}" if _is_server(uri) else f"mlflow ui --backend-store-uri {uri} --host 127.0.0.1"


def metric_name(name: str) -> str:
    """`name` as MLflow allows it: recall@1 becomes recall_at_1."""
    return name.replace("@", "_at_")


def _client() -> MlflowClient:
    silence_telemetry()
    from mlflow import MlflowClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = settings().mlflow_uri
    settings().root.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return found.experiment_id
    place = None if _is_server(settings().mlflow_uri) else (settings().root / "mlartifacts").as_uri()
    return client.create_experiment(EXPERIMENT, artifact_location=place)


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
    }
    source = f"{client.get_run(run).info.artifact_uri}/candidate"
    return client.create_model_version(MODEL, source, run_id=run, tags=tags)


def _version_of(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{MODEL}' and tag.candidate = '{digest}'")
    return found[0] if found else None


def _version(client: MlflowClient, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(MODEL, version)
    except MlflowException as error:
        raise InputError(f"{MODEL} has no version {version!r}: {error.message}", f"See {ui_command()}") from error


def _aliased(client: MlflowClient, alias: str) -> ModelVersion | None:
    models = client.search_registered_models(f"name = '{MODEL}'")
    version = models[0].aliases.get(alias) if models else None
    return client.get_model_version(MODEL, version) if version else None


def _local(client: MlflowClient, version: ModelVersion, place: str) -> Path:
    """The folder `place` of the version's run: where it lies, or a copy when a server keeps it."""
    from mlflow.artifacts import download_artifacts

    artifacts = client.get_run(version.run_id or "").info.artifact_uri
    return Path(download_artifacts(artifact_uri=f"{artifacts}/{place}", tracking_uri=settings().mlflow_uri))
