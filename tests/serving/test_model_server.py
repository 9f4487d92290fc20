"""`goodsight model-server` and `goodsight gateway` as the two containers of a pod: they start in any order, follow what is deployed, and
a restart or an end of either loses no request."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.digests import HOUSE
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from serving import running
from serving.deploy import deploy
from serving.torchserve import Ports
from tests.serving.conftest import PROBES

pytestmark = pytest.mark.torchserve
COMMAND = [sys.executable, "-c", "from pipelines.command import main; main()"]
SECONDS = 120  # that a model may take to load on a busy machine


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    not_yet = retry_if_result(lambda holds: not holds)
    Retrying(stop=stop_after_delay(seconds), wait=wait_fixed(0.05), retry=not_yet)(condition)


@dataclass
class Pod:
    """A home with two versions in its store, of which none is deployed yet, and the processes of a pod."""

    home: Path
    records: dict[str, Any]
    environment: dict[str, str]
    url: str
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, name: str) -> str:
        """Starts one of the two; returns the first line that it says."""
        process = subprocess.Popen(
            [*COMMAND, name], cwd=HOUSE, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes[name] = process
        return self.said(name)

    def said(self, name: str) -> str:
        out = self.processes[name].stdout
        assert out
        return out.readline()

    def deploy(self, version: str) -> None:
        """As a deployment elsewhere does once the version has passed its smoke test there."""
        write_json(self.home / "serving" / "current.json", self.records[version])

    def check(self, option: str = "--check") -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, "model-server", option], cwd=HOUSE, env=self.environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def status(self, path: str) -> int:
        return httpx.get(self.url + path).status_code

    def search(self, http: httpx.Client) -> tuple[int, str]:
        answer = http.post("/v1/search", json={"text": "red sofa", "k": 1})
        return answer.status_code, answer.json().get("model_version", "")


@pytest.fixture(scope="module")
def pod(deployed: Path, other: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    folder = tmp_path_factory.mktemp("pod")
    home = shutil.copytree(deployed, folder / "home", ignore=shutil.ignore_patterns("runtime"))
    current = home / "serving" / "current.json"
    records = {"1": read_json(current)}
    deploy(other.candidate, other.index, "2", PROBES, home)
    records["2"] = read_json(current)
    current.unlink()
    ports, port = Ports.free(), Ports.free().inference
    environment = {
        **os.environ, "GOODSIGHT_HOME": str(home), "GOODSIGHT_RUNTIME": str(folder / "run"), "GOODSIGHT_PORT": str(port),
        "GOODSIGHT_INFERENCE_PORT": str(ports.inference), "GOODSIGHT_MANAGEMENT_PORT": str(ports.management),
        "GOODSIGHT_METRICS_PORT": str(ports.metrics), "GOODSIGHT_REQUEST_SECONDS": "300", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    made = Pod(home, records, environment, f"http://127.0.0.1:{port}")
    yield made
    for process in made.processes.values():
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def load(pod: Pod) -> Iterator[list[tuple[int, str]]]:
    """Four callers who ask as long as the test runs; each answer's status and version."""
    answers: list[tuple[int, str]] = []
    over: list[bool] = []

    def ask() -> None:
        with httpx.Client(base_url=pod.url, timeout=300) as http:
            while not over:
                answers.append(pod.search(http))

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(ask) for _ in range(4)]
        yield answers
        over.append(True)
        for each in callers:
            each.result()


def test_each_waits_for_what_it_needs(pod: Pod) -> None:
    assert pod.start("gateway") == f"Answering at {pod.url} for the model server of {pod.environment['GOODSIGHT_RUNTIME']}/server.\n"
    assert (pod.status("/health/live"), pod.status("/health/ready")) == (200, 503)
    assert pod.check("--check-alive")[0] == 1
    assert pod.start("model-server") == f"Nothing is deployed in {pod.home} yet: waiting for the first version.\n"
    assert pod.check("--check-alive") == (0, "")
    code, told = pod.check()
    assert code == 1 and "No version is ready" in told
    assert pod.status("/health/ready") == 503
    pod.deploy("1")
    assert pod.said("model-server").startswith("Version 1 serves at ")
    assert pod.check() == (0, "Version 1 takes requests.\n")
    assert pod.status("/health/ready") == 200
    assert "goodsight_requests_total" in httpx.get(pod.url + "/metrics").text


def test_a_new_version_fails_no_request(pod: Pod, load: list[tuple[int, str]]) -> None:
    until(lambda: (200, "1") in load)
    pod.deploy("2")
    until(lambda: load[-4:] == [(200, "2")] * 4)
    assert set(load) == {(200, "1"), (200, "2")}
    assert pod.said("model-server").startswith("Version 2 serves at ")


def test_a_killed_model_server_is_waited_for(pod: Pod, load: list[tuple[int, str]]) -> None:
    until(lambda: len(load) >= 8)
    old = pod.processes["model-server"]
    old.kill()
    old.communicate()
    until(lambda: pod.status("/health/ready") == 503)
    before = len(load)
    assert pod.start("model-server").startswith("Version 2 serves at ")
    until(lambda: len(load) >= before + 8)
    assert set(load) == {(200, "2")} and pod.status("/health/ready") == 200


def test_what_does_not_load_changes_nothing(pod: Pod) -> None:
    broken = {**pod.records["2"], "version": "3", "archive": "goodsight-3"}
    write_json(pod.home / "serving" / "current.json", broken)
    assert pod.said("model-server").startswith("Version 2 serves on. goodsight-3 does not load")
    with httpx.Client(base_url=pod.url, timeout=300) as http:
        assert pod.search(http) == (200, "2")
    assert pod.check() == (0, "Version 2 takes requests.\n")


def test_stopped_together_they_answer_what_was_accepted(pod: Pod, picture: Callable[[int], bytes]) -> None:
    """A pod that ends sends both of its containers SIGTERM at once."""
    gateway, server = pod.processes["gateway"], pod.processes["model-server"]
    slow = picture(6200)

    def ask() -> int:
        return httpx.post(f"{pod.url}/v1/categorize", files={"image": slow}, timeout=300).status_code

    with ThreadPoolExecutor(6) as pool:
        requests = [pool.submit(ask) for _ in range(6)]
        wait(requests, return_when=FIRST_COMPLETED)
        for process in (server, gateway):
            process.send_signal(signal.SIGTERM)
        late = pool.submit(ask)  # connections are still taken for a moment
        assert [each.result() for each in [*requests, late]] == [200] * 7
    assert gateway.communicate(timeout=60)[0] == "Stopping, once the last requests are answered.\n" and gateway.returncode == 0
    said, _ = server.communicate(timeout=60)
    assert said.endswith("Stopping, once the last requests are answered.\n") and server.returncode == 0


def test_the_folder_of_the_pod_is_where_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.runtime(tmp_path) == tmp_path / "serving" / "runtime"
    monkeypatch.setenv("GOODSIGHT_RUNTIME", str(tmp_path / "run"))
    settings.cache_clear()
    assert running.runtime(tmp_path) == tmp_path / "run" / "server"
