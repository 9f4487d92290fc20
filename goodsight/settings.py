"""Settings of the platform: environment variables GOODSIGHT_*, each with the embedded default of one machine."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError

from goodsight.cpus import available_cpus
from goodsight.errors import InputError

IMAGE = "ghcr.io/goodsight/pipeline:0.1.0"
TRAIN_IMAGE = "ghcr.io/goodsight/train:0.1.0"
QUANTITY = r"^\d+(\.\d+)?([kMGT]i?)?$"
LABELS = r"^([\w./-]+=[\w.-]+(,[\w./-]+=[\w.-]+)*)?$"
RUN_ID = "GOODSIGHT_RUN_ID"  # in the environment of a step: the run that it is of


class Settings(BaseModel):
    """Where state lives and how much of the machine may be used."""

    home: Path = Field(default=Path(".goodsight"), description="Folder where all state lives.")
    runtime: str = Field(default="", description="Folder that model server and gateway of a pod share; default: under home.")
    image: str = Field(default=IMAGE, description="Container image that runs the steps on a cluster.")
    train_image: str = Field(default=TRAIN_IMAGE, description="Container image of the pods of a TrainJob.")
    train_runtime: str = Field(default="", description="TrainingRuntime on the cluster that pretrains; default: in the step's process.")
    train_nodes: int = Field(default=1, ge=1, description="Pods of a TrainJob.")
    train_gpus: int = Field(default=0, ge=0, description="GPUs of each of them, with one process each; 0: one process on CPUs.")
    train_cpus: int = Field(default=4, ge=1, description="CPUs of each of them.")
    train_memory: str = Field(default="16Gi", pattern=QUANTITY, description="Memory of each of them, shared memory included.")
    train_node_selector: str = Field(default="", pattern=LABELS, description="Labels of the nodes that they go to: NAME=VALUE,...")
    namespace: str = Field(default="goodsight", min_length=1, description="Kubernetes namespace of TrainJobs and pipelines.")
    kfp_endpoint: str = Field(default="", description="Kubeflow Pipelines that `goodsight pipeline` speaks to (URL).")
    kfp_token: SecretStr = Field(default=SecretStr(""), description="Bearer token for it.")
    tracking_uri: str = Field(default="", description="MLflow tracking server; default: SQLite under home.")
    ledger_uri: str = Field(default="", description="SQLAlchemy URL of the ledger; default: SQLite under home.")
    ledger_checkpoint: str = Field(default="", description="File of the ledger's signed checkpoint; default: under home.")
    keys: str = Field(default="", description="Folder of the key that signs and of the keys that are trusted; default: keys under home.")
    signer: str = Field(default="", description="Who signs models: sigstore:IDENTITY@ISSUER; default: the key of GOODSIGHT_KEYS.")
    predictions_uri: str = Field(default="", description="SQLAlchemy URL of the prediction log; default: SQLite under home.")
    data_remote: str = Field(default="", description="DVC remote of catalogue versions (folder, s3://bucket/path); default: none.")
    online_store: SecretStr = Field(default=SecretStr(""), description="Redis or Postgres of online features (URL); default: SQLite.")
    milvus_uri: SecretStr = Field(default=SecretStr(""), description="Milvus that holds the vectors (URL); default: files.")
    milvus_token: SecretStr = Field(default=SecretStr(""), description="Token of that Milvus (user:password).")
    inference_port: int = Field(default=8080, ge=1, le=65535, description="TorchServe inference, on loopback.")
    management_port: int = Field(default=8081, ge=1, le=65535, description="TorchServe management, on loopback.")
    metrics_port: int = Field(default=8082, ge=1, le=65535, description="TorchServe metrics, on loopback.")
    watch_host: str = Field(default="127.0.0.1", min_length=1, description="Where `goodsight watch` shows its metrics.")
    watch_port: int = Field(default=8083, ge=1, le=65535, description="Port of these metrics.")
    notify: SecretStr = Field(default=SecretStr(""), description="Who is told of retraining: URLs of apprise, comma separated.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Where the gateway listens; beyond loopback it asks for API keys.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port of the gateway.")
    queue: int = Field(default=64, ge=0, description="Requests that wait for the model at most; more are refused with 429.")
    request_seconds: float = Field(default=30.0, gt=0, le=600, description="Longest time that a request may take, in seconds.")
    api_keys_uri: SecretStr = Field(default=SecretStr(""), description="SQLAlchemy URL of the API keys; default: SQLite under home.")
    rate_uri: SecretStr = Field(default=SecretStr(""), description="Redis that counts the requests of keys; default: in memory.")
    gateway_log: str = Field(default="", description="File of the gateway's log, - for standard error; default: under home.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where models train; auto: a GPU when there is one.")
    threads: int = Field(default=available_cpus(), ge=1, description="CPU threads of one training process.")
    max_quarantined: float = Field(default=0.2, ge=0, le=1, description="Largest share of rows in quarantine that a run accepts.")
    input_sample: float = Field(default=0.0, ge=0, le=1, description="Share of inputs that are kept under home, 0 to 1.")
    prices: str = Field(default="", description="YAML file of what CPUs, memory, GPUs and electricity cost; default: this release's.")
    max_media_bytes: int = Field(default=32 * 2**20, ge=1, description="Largest media file, in bytes, before it is decoded.")
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="Largest image, in pixels, before it is decoded.")

    @property
    def root(self) -> Path:
        """`home` as an absolute path."""
        return self.home.expanduser().resolve()

    @property
    def mlflow_uri(self) -> str:
        return self.tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def ledger_url(self) -> str:
        return self.ledger_uri or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def checkpoint_file(self) -> Path:
        return Path(self.ledger_checkpoint).expanduser().resolve() if self.ledger_checkpoint else self.root / "ledger.checkpoint.json"

    @property
    def keys_folder(self) -> Path:
        return Path(self.keys).expanduser().resolve() if self.keys else self.root / "keys"

    @property
    def api_keys_url(self) -> str:
        return self.api_keys_uri.get_secret_value() or f"sqlite:///{self.root / 'api_keys.db'}"

    @property
    def gateway_log_place(self) -> str:
        return self.gateway_log or str(self.root / "serving" / "gateway.log")

    @property
    def predictions_url(self) -> str:
        return self.predictions_uri or f"sqlite:///{self.root / 'predictions.db'}"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once from the environment. Raises `InputError` naming a variable with a wrong value."""
    variables = {name: f"GOODSIGHT_{name.upper()}" for name in Settings.model_fields}
    try:
        return Settings.model_validate({name: os.environ[each] for name, each in variables.items() if each in os.environ})
    except ValidationError as error:
        fault = error.errors()[0]
        name = f"GOODSIGHT_{str(fault['loc'][0]).upper()}"
        raise InputError(f"{name} is {fault['input']!r}: {fault['msg']}.", f"Set {name} to such a value, or unset it.") from error


QUIET_LIBRARIES = {
    "GX_ANALYTICS_ENABLED": "False",
    "FEAST_USAGE": "False",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def silence_telemetry() -> None:
    """Turns off the calls home of the libraries we embed, unless the user has set them. Call before importing them."""
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
