"""A worker in its server: its own metrics under the version's label, and one that was killed comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from goodsight.errors import GoodsightError
from serving import running
from serving.client import Client
from serving.running import Running

pytestmark = pytest.mark.torchserve
patiently = retry(
    stop=stop_after_delay(120), wait=wait_fixed(0.2), retry=retry_if_exception_type((GoodsightError, AssertionError)), reraise=True
)


@pytest.fixture(scope="module")
def home(deployed: Path, serve: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = shutil.copytree(deployed, tmp_path_factory.mktemp("worker") / "home")
    serve(copied)
    return copied


def server(home: Path) -> Running:
    found = running.find(running.runtime(home))
    assert found
    return found


def worker(home: Path) -> psutil.Process:
    of_server = psutil.Process(server(home).server.pid).children(recursive=True)
    [found] = [each for each in of_server if "model_service_worker.py" in " ".join(each.cmdline())]
    return found


def test_its_metrics_are_told_by_version_task_and_status(home: Path) -> None:
    client = Client.connect(home)
    client.search("red sofa")
    client.predict({"task": "similar", "product": "p1"})

    @patiently
    def told() -> None:
        text = httpx.get(f"http://127.0.0.1:{server(home).metrics_port}/metrics").text
        for labels in ('version="1",task="search",status="200"', 'version="1",task="similar",status="200"'):
            assert f"goodsight_worker_requests_total{{{labels}" in text
        assert 'goodsight_worker_part_seconds_bucket{version="1",part="forward"' in text
        for end in ("sum", "count", "bucket"):
            assert f'goodsight_worker_batch_size_{end}{{version="1"' in text

    told()


def test_a_worker_that_is_killed_comes_back(home: Path) -> None:
    client, before = Client.connect(home), worker(home)
    answer = client.search("red sofa")
    before.kill()
    before.wait(10)
    again = patiently(lambda: client.search("red sofa"))()
    assert again["results"] == answer["results"]
    assert worker(home).pid != before.pid and server(home).alive()
