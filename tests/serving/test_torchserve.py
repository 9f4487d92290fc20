"""The TorchServe process alone, without a model: private, closed to strangers, and honest about its end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from goodsight.errors import BusyError
from serving import running
from serving.torchserve import Ports, Server

pytestmark = pytest.mark.torchserve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("a home, with [odd] näme")
    started = Server.start(home / "runtime", home / "store", Ports.free())
    yield started
    started.stop()


def test_no_token_no_answer(server: Server) -> None:
    management = f"http://127.0.0.1:{server.record.management_port}/models"
    assert httpx.get(f"{server.record.url}/ping").status_code == 400
    assert httpx.post(f"{server.record.url}/predictions/goodsight", json={}).status_code == 400
    assert httpx.get(management).status_code == 400
    inference = {"Authorization": f"Bearer {server.record.key('inference')}"}
    assert httpx.get(management, headers=inference).status_code == 400


@pytest.mark.parametrize("url", ["file:///etc/hosts", "http://127.0.0.1:1/x.mar", "../../x", "/etc/hosts"])
def test_models_come_from_the_store_alone(server: Server, url: str) -> None:
    headers = {"Authorization": f"Bearer {server.record.key('management')}"}
    management = f"http://127.0.0.1:{server.record.management_port}/models"
    assert httpx.post(management, params={"url": url}, headers=headers).status_code == 404


def test_everything_is_private_and_on_loopback(server: Server) -> None:
    for folder in (server.record.folder, server.record.scratch):
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    listening = [c for c in psutil.Process(server.process.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 5  # the three of ours, and two that TorchServe always opens for gRPC
    assert {connection.laddr.ip.removeprefix("::ffff:") for connection in listening} == {"127.0.0.1"}


def test_metrics_are_served(server: Server) -> None:
    assert httpx.get(f"http://127.0.0.1:{server.record.metrics_port}/metrics").status_code == 200


def test_a_second_server_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BusyError, match="already running"):
        Server.start(Path(server.record.folder), tmp_path / "store", Ports.free())


def test_a_foreign_process_on_the_port_is_named(tmp_path: Path) -> None:
    ports = Ports.free()
    with socket.create_server(("127.0.0.1", ports.inference)), pytest.raises(BusyError, match=f"Port {ports.inference} "):
        Server.start(tmp_path / "runtime", tmp_path / "store", ports)
    assert not (tmp_path / "runtime").exists()


def test_a_server_that_dies_is_reported_and_cleared_away(tmp_path: Path) -> None:
    server = Server.start(tmp_path / "runtime", tmp_path / "store", Ports.free())
    server.process.kill()
    status = server.process.wait()
    error = server.failure(f"ended by itself (status {status})")
    assert "ended by itself (status -9)" in error.message and "torchserve.log" in error.hint
    server.stop()
    assert running.read(tmp_path / "runtime") is None and not Path(server.record.scratch).exists()
