"""`goodsight serve` as product teams meet it: the gateway before a real TorchServe, asked by the Python client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from goodsight_client import AsyncClient, Client, Problem, Refused, Retries, Unavailable

from goodsight.digests import HOUSE
from goodsight.errors import BusyError
from goodsight.settings import settings
from lineage.answered import by_version
from serving import running
from serving.serve import serve as serve_here

pytestmark = pytest.mark.torchserve
ONCE = Retries(tries=1)


@pytest.fixture(scope="module")
def served(deployed: Path, serve: Callable[[Path], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_REQUEST_SECONDS", "300")  # a new worker takes long to start on a busy machine
        return serve(deployed)


@pytest.fixture(scope="module")
def url(served: Any) -> str:
    assert served.url.startswith("http://127.0.0.1:"), served.first_line
    return str(served.url)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url, retries=ONCE) as made:
        yield made


def answered(home: Path) -> int:
    """How many answers are in the prediction log."""
    return sum(each["count"] for each in by_version(f"sqlite:///{home / 'predictions.db'}"))


def test_the_client_searches_and_categorizes(client: Client, picture: Callable[[int], bytes]) -> None:
    found = client.search("red sofa", k=3)
    assert found.results[0].title == "red sofa" and len(found.results) == 3 and found.model_version == "1"
    named = client.categorize(image=picture(40), k=2)
    assert (named.modalities, len(named.results)) == (["image"], 2)
    with pytest.raises(Refused) as refused:
        client.search("sofa", k=1000)
    assert refused.value.problem and refused.value.problem.status == 400 and refused.value.problem.request_id


def test_batches_of_both_clients_agree(client: Client, url: str) -> None:
    asked = [{"text": f"sofa {number}", "k": 1} for number in range(40)] + [{"k": 1}]

    async def at_once() -> list[Any]:
        async with AsyncClient(url, retries=ONCE) as each:
            return await each.batch("search", asked)

    one, other = client.batch("search", asked), asyncio.run(at_once())
    assert isinstance(one[-1], Problem) and isinstance(other[-1], Problem)
    results = [[found.results[0] for found in each[:-1]] for each in (one, other)]
    assert [each.id for each in results[0]] == [each.id for each in results[1]]
    scores = [[each.score for each in found] for found in results]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)  # the worker batches what comes together, and bfloat16 rounds by batch


def test_an_answer_has_its_passport(client: Client) -> None:
    answer = client.search("red sofa")

    def passport() -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while True:
            try:
                return client.passport(answer.id)
            except Refused:
                if time.monotonic() > deadline:
                    raise

    told = passport()
    assert told["root"] == f"prediction:{answer.id}"
    with pytest.raises(Refused, match="404"):
        client.passport("01938c5e-7a1b-7c3d-9e4f-2b6a8d0c1e5f")
    with pytest.raises(Refused, match="404"):
        client.passport("champion")


@pytest.mark.node
def test_the_javascript_of_the_documents_runs(url: str) -> None:
    node = shutil.which("node")
    if node is None:
        missing = "No node on the PATH (Debian: apt-get install nodejs)."
        pytest.fail(missing) if os.environ.get("GOODSIGHT_REQUIRE_NODE") == "1" else pytest.skip(missing)
    [code] = re.findall(r"^```js\n(.*?)^```$", (HOUSE / "docs" / "product.md").read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run([node, "--input-type=module", "-", url], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3 and "red sofa" in done.stdout


def test_the_model_server_is_described_by_its_own_words(url: str) -> None:
    model = f"{url}/v2/models/goodsight"
    assert httpx.get(model).json()["versions"] == ["1"]
    assert [httpx.get(f"{model}/versions/{version}/ready").status_code for version in ("1", "2")] == [200, 404]
    asked = {"parameters": {"task": "embed"}, "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["sofa"]}]}
    assert httpx.post(f"{model}/versions/1/infer", json=asked, timeout=60).json()["model_version"] == "1"
    assert httpx.post(f"{model}/versions/2/infer", json=asked, timeout=60).status_code == 404
    metrics = httpx.get(f"{url}/metrics").text
    assert "ts_inference_requests_total{" in metrics and 'route="/v2/models/goodsight/versions/{version}/infer"' in metrics


def test_probes_leave_nothing_in_the_log(client: Client, url: str, deployed: Path) -> None:
    for _ in range(5):
        assert httpx.get(f"{url}/health/ready").status_code == httpx.get(f"{url}/health/live").status_code == 200
    client.search("sofa")
    before = settled(deployed)
    for _ in range(5):
        assert httpx.get(f"{url}/health/ready").status_code == 200
    client.search("sofa")
    assert until_more(deployed, before) == before + 1


def settled(home: Path) -> int:
    """The number of answers in the log once the one of a marked request is there."""
    count, since = answered(home), time.monotonic()
    while time.monotonic() < since + 1:
        if (now := answered(home)) != count:
            count, since = now, time.monotonic()
    return count


def until_more(home: Path, before: int) -> int:
    deadline = time.monotonic() + 10
    while (count := answered(home)) <= before and time.monotonic() < deadline:
        pass
    return count


def test_a_killed_worker_under_load_fails_no_request(url: str, deployed: Path) -> None:
    record = running.find(running.runtime(deployed))
    assert record
    statuses: list[int] = []

    def load(number: int) -> None:
        with httpx.Client(base_url=url, timeout=300) as http:
            for each in range(25):
                statuses.append(http.post("/v1/search", json={"text": f"sofa {number} {each}"}).status_code)

    with ThreadPoolExecutor(8) as pool:
        under_way = [pool.submit(load, number) for number in range(8)]
        while len(statuses) < 20:
            assert not any(each.done() and each.exception() for each in under_way)
        children = psutil.Process(record.server.pid).children(recursive=True)
        [worker] = [each for each in children if "model_service_worker" in str(each.cmdline())]
        worker.kill()
        for each in under_way:
            each.result()
    assert statuses == [200] * 200


def test_a_port_that_is_taken_is_told_before_the_model_server_starts(
    deployed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(deployed, tmp_path / "home", ignore=shutil.ignore_patterns("runtime"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("GOODSIGHT_PORT", str(port := taken.getsockname()[1]))
        settings.cache_clear()
        with pytest.raises(BusyError, match=f"127.0.0.1:{port} (.|\n)*GOODSIGHT_PORT"):
            serve_here(home)
    assert not running.runtime(home).exists()


def test_it_answers_what_waits_in_the_backlog_when_it_stops(served: Any, url: str, deployed: Path) -> None:
    """Connections of which the server has not heard yet when the signal comes, and one that is kept."""
    port = int(url.rpartition(":")[2])
    kept = httpx.Client(base_url=url)
    kept.get("/health/live")
    body = json.dumps({"text": "red sofa", "k": 1}).encode()
    head = f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    served.process.send_signal(signal.SIGTERM)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    for each in connections:
        each.sendall(head.encode() + body)
    last = kept.get("/health/ready")
    assert last.status_code == 503 and last.headers["connection"] == "close"
    for each in connections:
        with each, each.makefile("rb") as answer:
            said = answer.read()
            assert said.startswith(b"HTTP/1.1 200 ") and b"connection: close" in said.lower() and b"red sofa" in said
    said, _ = served.process.communicate(timeout=60)
    assert (said, served.process.returncode) == ("Stopping, once the last requests are answered.\n", 0)
    with pytest.raises(Unavailable), Client(url, retries=ONCE) as client:
        client.search("sofa")
    assert running.read(running.runtime(deployed)) is None
