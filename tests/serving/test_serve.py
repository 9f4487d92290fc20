"""`goodsight serve` as its users meet it: it answers, drains on Ctrl-C, and leaves nothing behind when it is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from goodsight.errors import BusyError, GoodsightError, InputError
from lineage.answered import prediction
from serving import running
from serving.client import Client
from serving.running import Running
from serving.serve import serve as serve_here

pytestmark = pytest.mark.torchserve


def up(home: Path) -> Running:
    found = running.find(running.runtime(home))
    assert found
    return found


def gone(server: Running, timeout: float) -> bool:
    """Whether the server and its workers end within `timeout` seconds."""
    _, alive = psutil.wait_procs(running._group(server.server.pid), timeout=timeout)
    return not alive


def test_nothing_deployed_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Nothing is deployed(.|\n)*goodsight run"):
        serve_here(tmp_path)


def test_killed_it_leaves_no_server(deployed: Path, serve: Callable[[Path], Any]) -> None:
    served = serve(deployed)
    server = up(deployed)
    assert served.first_line == f"Serving version 1 at {served.url}. Ctrl-C stops it.\n"
    served.process.kill()
    served.process.wait()
    assert gone(server, 20)
    assert running.find(running.runtime(deployed)) is None
    assert Path(server.scratch).exists()  # until the next start, below


def test_it_answers_and_drains(deployed: Path, serve: Callable[[Path], Any], picture: Callable[[int], bytes]) -> None:
    left = running.read(running.runtime(deployed))
    served = serve(deployed)
    server = up(deployed)
    assert left and not Path(left.scratch).exists()
    client = Client.connect(deployed)
    assert client.search("red sofa", k=3)["results"][0]["title"] == "red sofa"
    assert client.categorize(image=picture(40), k=2)["model_version"] == "1"
    with pytest.raises(InputError, match="give a text, an image, attributes"):
        client.search()
    with pytest.raises(BusyError, match="already running"):
        serve_here(deployed)
    ids = _answers_what_was_accepted(client, served, picture(6200))
    assert all(prediction(f"sqlite:///{deployed / 'predictions.db'}", each) for each in ids), "the server ended before its log was whole"
    assert gone(server, 5)
    assert not Path(server.scratch).exists() and running.read(running.runtime(deployed)) is None
    with pytest.raises(GoodsightError, match="does not answer"):
        client.search("sofa")


def _answers_what_was_accepted(client: Client, served: Any, slow: bytes) -> list[str]:
    """Six slow requests; Ctrl-C when the first is answered and the others are under way. Returns the ids of the answers."""
    with ThreadPoolExecutor(6) as pool:
        requests = [pool.submit(client.categorize, image=slow) for _ in range(6)]
        wait(requests, return_when=FIRST_COMPLETED)
        served.process.send_signal(signal.SIGINT)
        answers = [request.result() for request in requests]
    assert [answer["task"] for answer in answers] == ["categorize"] * 6
    said, _ = served.process.communicate(timeout=60)
    assert (said, served.process.returncode) == ("Stopping, once the last requests are answered.\n", 0)
    return [answer["id"] for answer in answers]
